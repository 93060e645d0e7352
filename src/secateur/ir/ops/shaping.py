"""Operations that move values and compute nothing."""

from __future__ import annotations

import numpy as np

from secateur.errors import GraphError
from secateur.ir.graph import DTYPES, ValueType
from secateur.ir.ops.sizes import need_axes, need_dtype, need_float, need_static, show, volume

PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def reshape_type(x: ValueType, *, shape: tuple[int, ...]) -> ValueType:
    """The same number of elements for every batch size."""
    _need_sizes("reshape", shape)
    if volume(shape) != volume(x.shape):
        raise GraphError(
            f"reshape: {show(x.shape)} and {show(shape)} differ in their number of elements "
            "(a size -k means k times the batch, not 'infer')"
        )
    return ValueType(shape, x.dtype)


def reshape(x: np.ndarray, *, shape: tuple[int, ...]) -> np.ndarray:
    """The same elements in row-major order."""
    return x.reshape(shape)


def permute_type(x: ValueType, *, axes: tuple[int, ...]) -> ValueType:
    """axes names every axis once."""
    need_axes("permute", axes, len(x.shape))
    if len(axes) != len(x.shape):
        raise GraphError(f"permute: axes {axes} must name all {len(x.shape)} axes of {show(x.shape)}")
    return ValueType(tuple(x.shape[axis] for axis in axes), x.dtype)


def permute(x: np.ndarray, *, axes: tuple[int, ...]) -> np.ndarray:
    """Axis i of the result is axis axes[i] of x."""
    return x.transpose(axes)


def expand_type(x: ValueType, *, shape: tuple[int, ...]) -> ValueType:
    """Sizes of 1 stretch, new axes come in front."""
    _need_sizes("expand", shape)
    tail = shape[len(shape) - len(x.shape) :]
    if len(x.shape) > len(shape) or any(old not in (1, new) for old, new in zip(x.shape, tail, strict=True)):
        raise GraphError(f"expand: {show(x.shape)} does not stretch to {show(shape)}; only sizes of 1 do")
    return ValueType(shape, x.dtype)


def expand(x: np.ndarray, *, shape: tuple[int, ...]) -> np.ndarray:
    """x repeated along axes of size 1 (a view)."""
    return np.broadcast_to(x, shape)


def slice_type(x: ValueType, *, axis: int, start: int, stop: int, step: int) -> ValueType:
    """0 <= start < stop <= the axis's static size."""
    need_axes("slice", (axis,), len(x.shape))
    size = x.shape[axis]
    need_static("slice", (size,), f"axis {axis}")
    if not (0 <= start < stop <= size and step >= 1):
        raise GraphError(
            f"slice: {start}:{stop}:{step} of axis {axis}, size {size}; wanted 0 <= start < stop <= size "
            "and step >= 1: count from the front and cut stop to the size"
        )
    return ValueType((*x.shape[:axis], -(-(stop - start) // step), *x.shape[axis + 1 :]), x.dtype)


def slice_axis(x: np.ndarray, *, axis: int, start: int, stop: int, step: int) -> np.ndarray:
    """x[start:stop:step] along one axis; a copy, or a small piece would keep all of x in memory."""
    return x[(slice(None),) * axis + (slice(start, stop, step),)].copy()


def pad_type(x: ValueType, *, pads: tuple[int, ...], mode: str, value: float) -> ValueType:
    """pads = (before, after) for every axis in turn; an axis of the batch cannot be padded."""
    need_float("pad", x)
    if len(pads) != 2 * len(x.shape):
        raise GraphError(f"pad: pads {pads} must hold two entries for each of the {len(x.shape)} axes")
    if mode != "constant" and value:
        raise GraphError(f"pad: value {value} has no meaning in mode {mode}; write 0.0")
    result = []
    for size, before, after in zip(x.shape, pads[::2], pads[1::2], strict=True):
        if not before and not after:
            result.append(size)
            continue
        need_static("pad", (size,), "a padded axis")
        farthest = {"reflect": size - 1, "circular": size}.get(mode)
        if farthest is not None and max(before, after) > farthest:
            raise GraphError(f"pad: mode {mode} reaches at most {farthest} on an axis of size {size}, not {pads}")
        result.append(before + size + after)
    return ValueType(tuple(result))


def pad(x: np.ndarray, *, pads: tuple[int, ...], mode: str, value: float) -> np.ndarray:
    """A border of `value`, of the mirrored, repeated edge, or opposite entries (torch's names of the modes)."""
    widths = list(zip(pads[::2], pads[1::2], strict=True))
    if mode == "constant":
        return np.pad(x, widths, constant_values=np.float32(value))
    return np.pad(x, widths, mode=PAD_MODES[mode])  # pyright: ignore[reportArgumentType, reportCallIssue]


def concat_type(*values: ValueType, axis: int) -> ValueType:
    """Equal but for one axis, whose sizes add up (all static, or all multiples of the batch)."""
    need_dtype("concat", DTYPES, *values)
    need_axes("concat", (axis,), len(values[0].shape))
    others = {(*value.shape[:axis], None, *value.shape[axis + 1 :]) for value in values}
    if len({len(value.shape) for value in values}) > 1 or len(others) > 1:
        raise GraphError(f"concat: {', '.join(show(value.shape) for value in values[:8])} differ outside axis {axis}")
    sizes = [value.shape[axis] for value in values]
    if min(sizes) < 0 < max(sizes):
        raise GraphError(f"concat: axis {axis} is static in some inputs and a multiple of the batch in others")
    return ValueType((*values[0].shape[:axis], sum(sizes), *values[0].shape[axis + 1 :]), values[0].dtype)


def concat(*arrays: np.ndarray, axis: int) -> np.ndarray:
    """The inputs one after another along an axis."""
    return np.concatenate(arrays, axis=axis)


def cast_type(x: ValueType, *, dtype: str) -> ValueType:
    """The same shape, another dtype."""
    return ValueType(x.shape, dtype)


def cast(x: np.ndarray, *, dtype: str) -> np.ndarray:
    """float to int cuts towards zero; to bool asks whether it is not zero."""
    return x.astype(dtype)


def _need_sizes(op: str, shape: tuple[int, ...]) -> None:
    if 0 in shape:
        raise GraphError(f"{op}: shape {show(shape)} holds a 0; sizes are k or -k (k times the batch), k at least 1")
