"""Transposed convolution over one, two or three spatial axes: a matrix product, its results added where they belong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from secateur.errors import GraphError
from secateur.ir.graph import ValueType
from secateur.ir.ops import convolution
from secateur.ir.ops.op import CALL_STEPS, Effort
from secateur.ir.ops.sizes import MAX_ELEMENTS, need_float, need_shape, need_static, show

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True)
class Spread:
    """How far a transposed convolution spreads its input, an entry a spatial axis."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    output_padding: tuple[int, ...]
    dilation: tuple[int, ...]

    def check(self, sizes: tuple[int, ...]) -> None:
        """GraphError unless the entries are well formed and leave at least one output on every axis."""
        need_static("conv_transpose", sizes, "spatial shape")
        for name in ("kernel", "stride", "padding", "output_padding", "dilation"):
            values = getattr(self, name)
            if len(values) != len(sizes):
                raise GraphError(
                    f"conv_transpose: {name} {values} must have one entry for each of the {len(sizes)} spatial axes"
                )
            if not name.endswith("padding") and min(values) < 1:
                raise GraphError(f"conv_transpose: {name} {values} must be at least 1 everywhere")
        for more, step, gap in zip(self.output_padding, self.stride, self.dilation, strict=True):
            if more >= max(step, gap):
                raise GraphError(
                    f"conv_transpose: output_padding {self.output_padding} must be smaller than stride or dilation"
                )
        if min(self.outputs(sizes)) < 1:
            raise GraphError(f"conv_transpose: padding {self.padding} leaves nothing of {show(self.canvas(sizes))}")
        if prod(self.canvas(sizes)) > MAX_ELEMENTS:
            raise GraphError(
                f"conv_transpose: stride {self.stride} and dilation {self.dilation} spread it absurdly far"
            )

    def reach(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """How far the taps of all inputs reach, before the padding is cut off."""
        rows = zip(sizes, self.stride, self.dilation, self.kernel, strict=True)
        return tuple((size - 1) * step + gap * (taps - 1) + 1 for size, step, gap, taps in rows)

    def outputs(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """The size of the result along each axis (the formula in torch.nn.ConvTranspose2d's documentation)."""
        rows = zip(self.reach(sizes), self.padding, self.output_padding, strict=True)
        return tuple(size - 2 * pad + more for size, pad, more in rows)

    def canvas(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """What is filled before the padding is cut off: the taps' reach, and the output padding where that goes on."""
        rows = zip(self.reach(sizes), self.padding, self.outputs(sizes), strict=True)
        return tuple(max(size, pad + kept) for size, pad, kept in rows)


def transposed_type(
    x: ValueType,
    *parameters: ValueType,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    output_padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> ValueType:
    """x (n, c, *spatial), weight (c, o / groups, *kernel), bias (o,) -> (n, o, *spatial)."""
    weight, *bias = parameters
    need_float("conv_transpose", x, *parameters)
    if len(x.shape) not in (3, 4, 5) or len(weight.shape) != len(x.shape):
        raise GraphError(
            f"conv_transpose: x {show(x.shape)} and weight {show(weight.shape)} must both have 3, 4 or 5 axes: "
            "(batch, channels, *spatial) and (channels, outputs per group, *kernel); reshape first"
        )
    need_static("conv_transpose", weight.shape, "weight")
    channels, width, *kernel = weight.shape
    if groups < 1 or channels % groups:
        raise GraphError(f"conv_transpose: {channels} channels do not fall into {groups} groups")
    if x.shape[1] != channels:
        raise GraphError(
            f"conv_transpose: x {show(x.shape)} must have {channels} channels in axis 1 for weight {show(weight.shape)}"
        )
    for value in bias:
        need_shape("conv_transpose", value, (width * groups,), "bias")
    spread = Spread(tuple(kernel), stride, padding, output_padding, dilation)
    spread.check(x.shape[2:])
    return ValueType((x.shape[0], width * groups, *spread.outputs(x.shape[2:])))


def transposed_convolve(
    x: Float[np.ndarray, "n c *spatial"],
    *parameters: Float[np.ndarray, "*_"],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    output_padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> Float[np.ndarray, "n o *out"]:
    """y[n, o, p s + k d - padding] = sum over c, k of w[c, o, k] x[n, c, p]: the adjoint of a convolution.

    parameters: weight (c, o / groups, *kernel), and a bias (o,) where there is one.

    An image's result does not depend on the other images of the batch, to the last bit.
    """
    weight, *bias = parameters
    channels, width, *kernel = weight.shape
    spread = Spread(tuple(kernel), stride, padding, output_padding, dilation)
    sizes = x.shape[2:]
    canvas = np.zeros((len(x), groups * width, *spread.canvas(sizes)), dtype=x.dtype)
    matrix = weight.reshape(groups, channels // groups, -1).swapaxes(1, 2)
    pixels = x.reshape(len(x), groups, channels // groups, prod(sizes))
    step = max(1, convolution.COLUMN_BYTES // max(1, 4 * groups * matrix.shape[1] * prod(sizes)))
    for first in range(0, len(x), step):
        part = slice(first, first + step)
        taps = np.matmul(matrix, pixels[part]).reshape(-1, groups * width, *kernel, *sizes)
        for tap in np.ndindex(*kernel):
            places = (
                slice(k * gap, k * gap + (size - 1) * stretch + 1, stretch)
                for k, gap, size, stretch in zip(tap, dilation, sizes, stride, strict=True)
            )
            canvas[(part, slice(None), *places)] += taps[(slice(None), slice(None), *tap)]
    kept = (slice(pad, pad + size) for pad, size in zip(padding, spread.outputs(sizes), strict=True))
    y = canvas[(slice(None), slice(None), *kept)]
    for value in bias:
        y = y + value.reshape(-1, *(1,) * len(kernel))
    return y


def transposed_effort(
    output: ValueType, x: ValueType, weight: ValueType, *_bias: ValueType, groups: int, **spread: Any
) -> Effort:
    """The canvas, and what every tap makes of as many images as `transposed_convolve` takes at a time."""
    kernel = weight.shape[2:]
    canvas = x.shape[0] * output.shape[1] * prod(Spread(kernel, **spread).canvas(x.shape[2:]))
    taps = 4 * groups * prod(weight.shape[1:]) * prod(x.shape[2:])
    images = min(x.shape[0], max(1, convolution.COLUMN_BYTES // max(1, taps)))
    copies = 4 * (canvas + prod(x.shape) + prod(weight.shape) + prod(output.shape))
    return Effort(copies + 2 * images * taps, canvas + x.shape[0] * taps // 2 + CALL_STEPS * prod(kernel))


def transposed_macs(x: ValueType, weight: ValueType, *_bias: ValueType, **_attributes: object) -> int:
    """Every weight at every input position counts, taps that the padding cuts off included."""
    return prod(x.bind(1)) // weight.shape[0] * prod(weight.shape)
