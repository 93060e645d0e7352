"""The shape of a convolutional layer, and the float64 sum that defines it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from secateur.errors import KernelError

if TYPE_CHECKING:
    from jaxtyping import Float

Pair = tuple[int, int]


@dataclass(frozen=True)
class ConvShape:
    """A 2-D convolution on channels_last arrays; a 1-D one has height 1 and one row of taps.

    batch, height, width, in_channels   of the input
    out_channels
    taps       kernel height and width
    stride, dilation   per axis
    padding    rows of zeros above and below, columns left and right
    groups     each group of input channels makes a group of output channels
    """

    batch: int
    height: int
    width: int
    in_channels: int
    out_channels: int
    taps: Pair
    stride: Pair = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            least = 0 if entry.name in ("batch", "padding") else 1
            if min(value if isinstance(value, tuple) else (value,)) < least:
                raise KernelError(f"{entry.name}={value} of a convolution must be at least {least}")
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise KernelError(
                f"{self.in_channels} and {self.out_channels} channels do not split into {self.groups} groups"
            )
        if min(self.out_height, self.out_width) < 1:
            raise KernelError(f"the kernel {self.taps} is larger than the padded image; there is no output")

    @property
    def reach(self) -> Pair:
        """Rows and columns from the first to the last tap."""
        return self.dilation[0] * (self.taps[0] - 1) + 1, self.dilation[1] * (self.taps[1] - 1) + 1

    @property
    def out_height(self) -> int:
        """Rows of the output."""
        return (self.height + self.padding[0] + self.padding[1] - self.reach[0]) // self.stride[0] + 1

    @property
    def out_width(self) -> int:
        """Columns of the output."""
        return (self.width + self.padding[2] + self.padding[3] - self.reach[1]) // self.stride[1] + 1

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """batch, height, width, channels."""
        return self.batch, self.height, self.width, self.in_channels

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        """batch, height, width, channels."""
        return self.batch, self.out_height, self.out_width, self.out_channels

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """out_channels, in_channels / groups, kernel height, kernel width."""
        return self.out_channels, self.in_channels // self.groups, *self.taps

    @property
    def macs(self) -> int:
        """Multiplications of the direct sum, padding counted."""
        pixels = self.batch * self.out_height * self.out_width
        return pixels * self.out_channels * (self.in_channels // self.groups) * self.taps[0] * self.taps[1]


def is_pointwise(shape: ConvShape) -> bool:
    """Whether a layer is a product of its pixels with one matrix: one tap, stride 1, no padding, one group."""
    return (shape.taps, shape.stride, shape.groups) == ((1, 1), (1, 1), 1) and not any(shape.padding)


def is_square(shape: ConvShape) -> bool:
    """Whether rows and columns of a layer are alike, so that a way to cut it up and its transpose cost the same."""
    alike = shape.height == shape.width and shape.taps[0] == shape.taps[1] and shape.padding[:2] == shape.padding[2:]
    return alike and shape.stride[0] == shape.stride[1] and shape.dilation[0] == shape.dilation[1]


def convolve(
    shape: ConvShape, x: Float[np.ndarray, "n h w c"], weight: Float[np.ndarray, "k c_group r s"]
) -> Float[np.ndarray, "n ho wo k"]:
    """The definition every kernel is tested against: the direct sum in float64, without bias."""
    top, bottom, left, right = shape.padding
    padded = np.pad(x.astype(np.float64), ((0, 0), (top, bottom), (left, right), (0, 0)))
    y = np.zeros((*shape.output_shape[:3], shape.groups, shape.out_channels // shape.groups))
    kernels = weight.astype(np.float64).reshape(shape.groups, -1, *shape.weight_shape[1:])
    for r in range(shape.taps[0]):
        for s in range(shape.taps[1]):
            first = r * shape.dilation[0], s * shape.dilation[1]
            last = (
                first[0] + (shape.out_height - 1) * shape.stride[0] + 1,
                first[1] + (shape.out_width - 1) * shape.stride[1] + 1,
            )
            seen = padded[:, first[0] : last[0] : shape.stride[0], first[1] : last[1] : shape.stride[1]]
            seen = seen.reshape(*seen.shape[:3], shape.groups, shape.in_channels // shape.groups)
            y += np.einsum("nhwgc,gkc->nhwgk", seen, kernels[..., r, s], optimize=True)
    return y.reshape(shape.output_shape)
