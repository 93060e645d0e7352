"""Convolution over one, two or three spatial axes: im2col and one matrix product per image and group."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from secateur.errors import GraphError
from secateur.ir.graph import ValueType
from secateur.ir.ops.op import Effort
from secateur.ir.ops.sizes import need_float, need_shape, need_static, show
from secateur.ir.ops.window import Window

if TYPE_CHECKING:
    from jaxtyping import Float

# Columns are built for as many images at a time as fit here: kernel**2 times the whole input would not fit anywhere.
COLUMN_BYTES = 2**25


def convolution_type(
    x: ValueType,
    weight: ValueType,
    *bias: ValueType,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> ValueType:
    """x (n, c, *spatial), weight (o, c / groups, *kernel), bias (o,) -> (n, o, *spatial)."""
    need_float("conv", x, weight, *bias)
    if len(x.shape) not in (3, 4, 5) or len(weight.shape) != len(x.shape):
        raise GraphError(
            f"conv: x {show(x.shape)} and weight {show(weight.shape)} must both have 3, 4 or 5 axes: "
            "(batch, channels, *spatial) and (outputs, channels per group, *kernel); reshape first"
        )
    need_static("conv", weight.shape, "weight")
    outputs, depth, *kernel = weight.shape
    if groups < 1 or outputs % groups:
        raise GraphError(f"conv: {outputs} outputs do not fall into {groups} groups")
    if x.shape[1] != depth * groups:
        raise GraphError(
            f"conv: x {show(x.shape)} must have {depth * groups} channels in axis 1 for weight {show(weight.shape)} "
            f"and groups={groups}"
        )
    for value in bias:
        need_shape("conv", value, (outputs,), "bias")
    window = Window(tuple(kernel), stride, padding, dilation)
    window.check("conv", x.shape[2:])
    return ValueType((x.shape[0], outputs, *window.outputs(x.shape[2:])))


def convolve(
    x: Float[np.ndarray, "n c *spatial"],
    weight: Float[np.ndarray, "o c_per_group *kernel"],
    *bias: Float[np.ndarray, " o"],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> Float[np.ndarray, "n o *out"]:
    """Cross-correlation, as everywhere in deep learning: y[n, o, p] = sum over c, k of w[o, c, k] x[n, c, p s + k d].

    An image's result does not depend on the other images of the batch, to the last bit.
    """
    outputs, _, *kernel = weight.shape
    window = Window(tuple(kernel), stride, padding, dilation)
    places = window.outputs(x.shape[2:])
    columns = _columns(window.padded(x, 0.0), window)
    matrix = weight.reshape(groups, outputs // groups, -1)
    depth, area = matrix.shape[2], prod(places)
    y = np.empty((len(x), groups, outputs // groups, area), dtype=x.dtype)
    step = max(1, COLUMN_BYTES // max(1, 4 * groups * depth * area))
    for first in range(0, len(x), step):
        part = columns[first : first + step]
        np.matmul(matrix, part.reshape(len(part), groups, depth, area), out=y[first : first + step])
    y = y.reshape(len(x), outputs, area)
    for value in bias:
        y += value[:, None]
    return y.reshape(len(x), outputs, *places)


def _columns(x: np.ndarray, window: Window) -> np.ndarray:
    """A view (n, c, *kernel, *out) of the padded input: under every tap, the inputs it meets."""
    rank = len(window.kernel)
    spatial = tuple(range(2, 2 + rank))
    view = sliding_window_view(x, window.reach, axis=spatial)
    steps = tuple(slice(None, None, step) for step in (*window.stride, *window.dilation))
    return np.moveaxis(view[(slice(None), slice(None), *steps)], range(2 + rank, 2 + 2 * rank), spatial)


def convolution_effort(
    _output: ValueType, x: ValueType, weight: ValueType, *_bias: ValueType, groups: int, **window: Any
) -> Effort:
    """The padded input, and the columns of as many images as `convolve` takes at a time."""
    view = Window(weight.shape[2:], **window)
    padded = prod(x.shape[:2]) * prod(view.padded_sizes(x.shape[2:]))
    columns = 4 * groups * prod(weight.shape[1:]) * prod(view.outputs(x.shape[2:]))
    images = min(x.shape[0], max(1, COLUMN_BYTES // max(1, columns)))
    return Effort(4 * padded + images * columns, padded + x.shape[0] * columns // 4)


def convolution_macs(x: ValueType, weight: ValueType, *bias: ValueType, **attributes: object) -> int:
    """Every tap of every output counts, those that meet padding included."""
    result = convolution_type(x, weight, *bias, **attributes)  # pyright: ignore[reportArgumentType]
    return prod(result.bind(1)) * prod(weight.shape[1:])
