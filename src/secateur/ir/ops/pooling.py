"""Pooling over one to three spatial axes. A window is a product of intervals, so axes are pooled one by one."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from secateur.errors import GraphError
from secateur.ir.graph import ValueType
from secateur.ir.ops.op import CALL_STEPS, Effort
from secateur.ir.ops.sizes import need_float, need_static, show
from secateur.ir.ops.window import Window

if TYPE_CHECKING:
    from jaxtyping import Float, Int64

CELL_BYTES = 500  # what Python keeps of a cell while the cells of an axis are computed

Image: TypeAlias = 'Float[np.ndarray, "n c *spatial"]'
Pooled: TypeAlias = 'Float[np.ndarray, "n c *out"]'


def max_pool_type(x: ValueType, **attributes: Any) -> ValueType:
    """x (n, c, *spatial) -> (n, c, *out); padding at most half of what the window spans."""
    return _pool_type("max_pool", x, Window(**attributes))


def max_pool(
    x: Image,
    *,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    ceil_mode: bool,
) -> Pooled:
    """The largest value under each window; padding never wins."""
    return _slide(x, Window(kernel, stride, padding, dilation, ceil_mode), -np.inf, np.maximum)


def average_pool_type(x: ValueType, *, kernel: tuple[int, ...], **attributes: Any) -> ValueType:
    """x (n, c, *spatial) -> (n, c, *out); padding at most half of what the window spans."""
    del attributes["count_include_pad"]
    return _pool_type("average_pool", x, Window(kernel, dilation=(1,) * len(kernel), **attributes))


def average_pool(
    x: Image,
    *,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    ceil_mode: bool,
    count_include_pad: bool,
) -> Pooled:
    """The mean of each window, over what it sees of the input or (count_include_pad) of the padded input.

    What a window of ceil_mode sees beyond the padding counts in neither.
    """
    y = window_sums(x, kernel=kernel, stride=stride, padding=padding, ceil_mode=ceil_mode)
    window = Window(kernel, stride, padding, (1,) * len(kernel), ceil_mode)
    for axis, taps in enumerate(window_taps(window, x.shape[2:], count_include_pad=count_include_pad)):
        y /= taps.astype(np.float32).reshape(-1, *(1,) * (y.ndim - 3 - axis))
    return y


def window_sums(
    x: Image, *, kernel: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...], ceil_mode: bool
) -> Pooled:
    """The sum of each window of `average_pool`."""
    return _slide(x, Window(kernel, stride, padding, (1,) * len(kernel), ceil_mode), 0.0, np.add)


def window_taps(
    window: Window, sizes: tuple[int, ...], *, count_include_pad: bool
) -> tuple[Int64[np.ndarray, " windows"], ...]:
    """Of each spatial axis, how many positions each window of `average_pool` sees."""
    found = []
    for axis, count in enumerate(window.outputs(sizes)):
        size, pad = sizes[axis], window.padding[axis]
        first = np.arange(count) * window.stride[axis] - pad
        last = np.minimum(first + window.kernel[axis], size + pad)
        if not count_include_pad:
            first, last = np.maximum(first, 0), np.minimum(last, size)
        found.append(last - first)
    return tuple(found)


def adaptive_max_pool_type(x: ValueType, *, output: tuple[int, ...]) -> ValueType:
    """x (n, c, *spatial) -> (n, c, *output)."""
    return _adaptive_type("adaptive_max_pool", x, output)


def adaptive_max_pool(x: Image, *, output: tuple[int, ...]) -> Pooled:
    """The largest value of each cell; cell i of o spans floor(i size / o) up to ceil((i + 1) size / o)."""
    return _cells(x, output, np.max)


def adaptive_average_pool_type(x: ValueType, *, output: tuple[int, ...]) -> ValueType:
    """x (n, c, *spatial) -> (n, c, *output)."""
    return _adaptive_type("adaptive_average_pool", x, output)


def adaptive_average_pool(x: Image, *, output: tuple[int, ...]) -> Pooled:
    """The mean of each cell; cells as in adaptive_max_pool."""
    return _cells(x, output, np.mean)


def cell_sums(x: Image, *, output: tuple[int, ...]) -> Pooled:
    """The sum of each cell of `adaptive_average_pool`."""
    return _cells(x, output, np.sum)


def pool_effort(_output: ValueType, x: ValueType, **attributes: Any) -> Effort:
    """The padded input and one result of an axis; every tap goes over what its axis leaves."""
    attributes.pop("count_include_pad", None)
    attributes.setdefault("dilation", (1,) * len(attributes["kernel"]))
    window = Window(**attributes)
    sizes, counts = list(window.padded_sizes(x.shape[2:])), window.outputs(x.shape[2:])
    planes, steps = prod(x.shape[:2]), 0
    padded = planes * prod(sizes)
    for axis, taps in enumerate(window.kernel):
        sizes[axis] = counts[axis]
        steps += taps * (planes * prod(sizes) + CALL_STEPS)
    return Effort(8 * padded, padded + steps)


def adaptive_effort(_output: ValueType, x: ValueType, *, output: tuple[int, ...]) -> Effort:
    """The cells of an axis, one by one and joined."""
    size = prod(x.shape[:2]) * prod(max(pair) for pair in zip(x.shape[2:], output, strict=True))
    return Effort(12 * size + CELL_BYTES * max(output), 3 * len(output) * size + CALL_STEPS * sum(output))


def _pool_type(op: str, x: ValueType, window: Window) -> ValueType:
    _need_image(op, x)
    window.check(op, x.shape[2:])
    if any(2 * pad > reach for pad, reach in zip(window.padding, window.reach, strict=True)):
        raise GraphError(f"{op}: padding {window.padding} must be at most half of the window's span {window.reach}")
    return ValueType((*x.shape[:2], *window.outputs(x.shape[2:])))


def _adaptive_type(op: str, x: ValueType, output: tuple[int, ...]) -> ValueType:
    _need_image(op, x)
    need_static(op, x.shape[2:], "spatial shape")
    if len(output) != len(x.shape) - 2 or min(output) < 1:
        raise GraphError(
            f"{op}: output {output} must have one size of at least 1 for each spatial axis of {show(x.shape)}"
        )
    return ValueType((*x.shape[:2], *output))


def _need_image(op: str, x: ValueType) -> None:
    need_float(op, x)
    if len(x.shape) not in (3, 4, 5):
        raise GraphError(f"{op}: x {show(x.shape)} must be (batch, channels, *spatial) with 1 to 3 spatial axes")


def _slide(x: Image, window: Window, border: float, combine: Callable[..., np.ndarray]) -> Pooled:
    """Combine the values under each window, one axis after another and one tap after another."""
    counts = window.outputs(x.shape[2:])
    y = window.padded(x, border)
    for axis, count in enumerate(counts):
        stride, dilation = window.stride[axis], window.dilation[axis]
        total: np.ndarray | None = None
        for tap in range(window.kernel[axis]):
            first = tap * dilation
            part = y[(slice(None),) * (2 + axis) + (slice(first, first + (count - 1) * stride + 1, stride),)]
            total = part.copy() if total is None else combine(total, part, out=total)
        assert total is not None  # a kernel has at least one tap
        y = total
    return y


def _cells(x: Image, output: tuple[int, ...], reduce: Callable[..., np.ndarray]) -> Pooled:
    for axis, cells in enumerate(output, start=2):
        size = x.shape[axis]
        edges = [(i * size // cells, -(-(i + 1) * size // cells)) for i in range(cells)]
        x = np.concatenate(
            [reduce(x[(slice(None),) * axis + (slice(*edge),)], axis=axis, keepdims=True) for edge in edges], axis=axis
        )
    return x
