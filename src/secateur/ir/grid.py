"""Grid: the numbers that the codes of a quantized tensor stand for. real = code * scale, zero is on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from secateur.errors import ArtifactError

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, Int8, Int64

WIDTHS = range(2, 9)
"""Bits a code may have."""

SMALLEST_SCALE = float(np.finfo(np.float16).smallest_subnormal)
SCALE_DTYPES = ("float16", "float32")


@dataclass(frozen=True, eq=False)
class Grid:
    """Signed, symmetric and uniform: codes are the integers from -largest to largest, largest = 2^(bits-1) - 1.

    scale  the step between neighbours: float16 or, where a batch norm was folded into it, float32; of shape () for the
           whole tensor, or (channels,) along `axis`. Finite and not negative; where it is 0 all codes are 0
    real = float32(code) * float32(scale), one float32 multiplication. ArtifactError for anything else.
    """

    bits: int
    scale: np.ndarray
    axis: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", np.asarray(self.scale))
        scale = self.scale
        if type(self.bits) is not int or self.bits not in WIDTHS:
            raise ArtifactError(f"a code has {WIDTHS[0]} to {WIDTHS[-1]} bits, not {self.bits!r}")
        if scale.dtype.name not in SCALE_DTYPES or not scale.dtype.isnative or scale.ndim > 1:
            raise ArtifactError(
                f"the scale of a grid is float16 or float32, one number or one a channel, not {scale.dtype} of shape "
                f"{scale.shape}"
            )
        if type(self.axis) is not int or self.axis < 0:
            raise ArtifactError(f"the axis of a grid's channels counts from 0, got {self.axis!r}")
        if not np.isfinite(scale).all() or np.signbit(scale).any():
            raise ArtifactError("the scale of a grid must be finite and not negative: turn the signs of its codes")
        with np.errstate(over="ignore"):
            if not np.isfinite(scale.astype(np.float32) * np.float32(self.largest)).all():
                raise ArtifactError(f"codes of {self.bits} bits at a scale of {scale.max():.6g} leave float32")

    @property
    def largest(self) -> int:
        """The largest |code|."""
        return (1 << (self.bits - 1)) - 1

    @property
    def by_channel(self) -> bool:
        """Whether each channel has a scale of its own."""
        return self.scale.ndim == 1

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of this shape has the channels the scale is for."""
        return not self.by_channel or (self.axis < len(shape) and shape[self.axis] == self.scale.size)

    def steps(self, ndim: int) -> Float32[np.ndarray, ...]:
        """The scale as float32, in a shape that broadcasts against a tensor of so many axes."""
        scale = self.scale.astype(np.float32)
        return scale.reshape(-1, *(1,) * (ndim - self.axis - 1)) if self.by_channel else scale

    def real(self, codes: Int8[np.ndarray, ...]) -> Float32[np.ndarray, ...]:
        """What codes stand for."""
        return np.asarray(codes.astype(np.float32) * self.steps(codes.ndim))

    def nearest(self, array: Float[np.ndarray, ...]) -> Int8[np.ndarray, ...]:
        """The codes of the grid's numbers nearest to these, half to even; the ends of the grid for what lies beyond."""
        steps = self.steps(array.ndim).astype(np.float64)
        places = np.where(steps > 0, array / np.where(steps > 0, steps, 1), 0)
        return np.asarray(np.rint(np.clip(places, -self.largest, self.largest)), dtype=np.int8)

    def take(self, channels: Int64[np.ndarray, " kept"], axis: int) -> Grid:
        """The grid of a tensor of which these indices along an axis were taken."""
        return Grid(self.bits, self.scale[channels], axis) if self.by_channel and axis == self.axis else self

    @classmethod
    def spanning(cls, array: Float[np.ndarray, ...], bits: int) -> Grid:
        """The grid for a whole tensor whose end is its largest number, but for the rounding of the scale to float16."""
        largest = float(np.abs(array).max(initial=0.0))
        step = largest / ((1 << (bits - 1)) - 1)
        if step > float(np.finfo(np.float16).max):
            raise ArtifactError(f"values up to {largest:.6g} leave the range of {bits} bits at a float16 scale")
        return cls(bits, np.array(max(step, SMALLEST_SCALE) if largest else 0.0, np.float16))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Grid)
            and self.bits == other.bits
            and self.scale.dtype == other.scale.dtype
            and np.array_equal(self.scale, other.scale)
            and (not self.by_channel or self.axis == other.axis)
        )
