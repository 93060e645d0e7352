"""Arithmetic on two values of broadcastable shapes. `np.asarray`, since numpy makes scalars of 0-d results."""

from __future__ import annotations

import numpy as np

from secateur.ir.graph import ValueType
from secateur.ir.ops.sizes import broadcast, need_dtype, need_float


def arithmetic_type(a: ValueType, b: ValueType) -> ValueType:
    """Both float32 or both int64."""
    need_dtype("add, sub and mul", ("float32", "int64"), a, b)
    return ValueType(broadcast("arithmetic", a.shape, b.shape), a.dtype)


def quotient_type(a: ValueType, b: ValueType) -> ValueType:
    """Both float32."""
    need_float("div", a, b)
    return ValueType(broadcast("div", a.shape, b.shape))


def add(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a + b."""
    return np.asarray(a + b)


def sub(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a - b."""
    return np.asarray(a - b)


def mul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a b."""
    return np.asarray(a * b)


def div(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b; by IEEE 754 a zero in b gives an infinity or nan."""
    return np.asarray(a / b)
