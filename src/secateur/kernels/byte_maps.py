"""Maps of bytes between layers: what kernels in 8 bits take, give and add, so that a whole network moves bytes alone.

    number = code * scale
    code   = clip(floor(number * (1 / scale) + 1/2), qmin, qmax)

in float32 and this order, with 1 / scale rounded once: halves go up, as docs/integer.md rounds; it divides by the
scale, which is the same wherever the quotient does not lie within a rounding of a half. Scales are static.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from secateur.errors import KernelError
from secateur.kernels.linear_quantize import LARGEST, LEAST_SCALE
from secateur.kernels.memory import aligned

if TYPE_CHECKING:
    from jaxtyping import Float32, Shaped


@dataclass(frozen=True)
class ByteMap:
    """A map of codes, a byte each.

    scale    what a code counts
    signed   int8 from -127 to 127; else uint8 from 0 to 255, as after a ReLU
    KernelError for a scale that is too small, or no number.
    """

    scale: float
    signed: bool = False

    def __post_init__(self) -> None:
        if not LEAST_SCALE <= self.scale < np.inf:
            raise KernelError(f"scale={self.scale} of a map of bytes: from {LEAST_SCALE:.0e} on")

    @property
    def dtype(self) -> type[np.generic]:
        """Of an array of codes."""
        return np.int8 if self.signed else np.uint8

    @property
    def ends(self) -> tuple[int, int]:
        """qmin and qmax."""
        return (-LARGEST, LARGEST) if self.signed else (0, 255)

    @property
    def inverse(self) -> np.float32:
        """1 / scale."""
        return np.float32(1) / np.float32(self.scale)

    def codes(self, numbers: Float32[np.ndarray, ...]) -> Shaped[np.ndarray, ...]:
        """The definition; what is no number becomes 0."""
        moved = numbers.astype(np.float32) * self.inverse + np.float32(0.5)
        return np.nan_to_num(np.floor(np.clip(moved, *self.ends))).astype(self.dtype)

    def numbers(self, codes: Shaped[np.ndarray, ...]) -> Float32[np.ndarray, ...]:
        """What codes stand for."""
        return codes.astype(np.float32) * np.float32(self.scale)


@dataclass(frozen=True)
class ByteMaps:
    """Which maps of a layer are bytes; None: float32.

    takes   the input
    gives   the output
    adds    the residual
    """

    takes: ByteMap | None = None
    gives: ByteMap | None = None
    adds: ByteMap | None = None

    @property
    def code_name(self) -> str:
        """Equal for maps that share code: scales are numbers beside it."""
        return " ".join("float" if one is None else one.dtype.__name__ for one in (self.takes, self.gives, self.adds))

    @property
    def signed_input(self) -> bool:
        """Whether activations have a sign, as those have that are quantized here."""
        return self.takes is None or self.takes.signed


FLOATS = ByteMaps()


def dtype_of(one: ByteMap | None) -> type[np.generic]:
    """Of a map's array."""
    return np.float32 if one is None else one.dtype


def bytes_of(one: ByteMap | None) -> int:
    """Of a number of a map."""
    return 4 if one is None else 1


def room(shape: tuple[int, ...], one: ByteMap | None) -> np.ndarray:
    """A new array for a map, at a cache line."""
    if one is None:
        return aligned(shape)
    count = prod(shape)
    return aligned(-(-count // 4)).view(one.dtype)[:count].reshape(shape)
