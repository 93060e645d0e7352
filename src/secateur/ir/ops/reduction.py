"""Sums and means over axes, accumulated in float64 and rounded once."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from secateur.errors import GraphError
from secateur.ir.graph import ValueType
from secateur.ir.ops.sizes import need_axes, need_dtype, need_float

if TYPE_CHECKING:
    from jaxtyping import Float


def mean_type(x: ValueType, *, axes: tuple[int, ...], keepdims: bool) -> ValueType:
    """float32; every axis named."""
    need_float("mean", x)
    return _reduced("mean", x, axes, keepdims)


def mean(x: Float[np.ndarray, "*n"], *, axes: tuple[int, ...], keepdims: bool) -> Float[np.ndarray, "*m"]:
    """The mean over axes; over an empty batch it is nan, as in torch."""
    count = np.float64(prod(x.shape[axis] for axis in axes))
    with np.errstate(invalid="ignore"):
        return np.asarray(x.sum(axis=axes, dtype=np.float64, keepdims=keepdims) / count, dtype=np.float32)


def sum_type(x: ValueType, *, axes: tuple[int, ...], keepdims: bool) -> ValueType:
    """float32 or int64; every axis named."""
    need_dtype("sum", ("float32", "int64"), x)
    return _reduced("sum", x, axes, keepdims)


def sum_axes(x: np.ndarray, *, axes: tuple[int, ...], keepdims: bool) -> np.ndarray:
    """The sum over axes."""
    wide = np.float64 if x.dtype == np.float32 else np.int64
    return np.asarray(x.sum(axis=axes, dtype=wide, keepdims=keepdims), dtype=x.dtype)


def _reduced(op: str, x: ValueType, axes: tuple[int, ...], keepdims: bool) -> ValueType:
    need_axes(op, axes, len(x.shape))
    if not axes:
        raise GraphError(f"{op}: axes () names nothing to reduce; list all axes to reduce all")
    shape = [1 if axis in axes else size for axis, size in enumerate(x.shape) if keepdims or axis not in axes]
    return ValueType(tuple(shape), x.dtype)
