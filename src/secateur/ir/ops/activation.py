"""Activations: one number in, one number out (and softmax, which normalises an axis).

numpy makes scalars of 0-d results; a value of a graph is always an array, hence `np.asarray`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from secateur.errors import GraphError
from secateur.ir.graph import ValueType
from secateur.ir.ops.gauss import erfc
from secateur.ir.ops.sizes import need_axes, need_float, need_static, show

if TYPE_CHECKING:
    from jaxtyping import Float

Array: TypeAlias = 'Float[np.ndarray, "*n"]'


def same_type(x: ValueType) -> ValueType:
    """float32 in, the same shape out."""
    need_float("an activation", x)
    return x


def relu(x: Array) -> Array:
    """max(x, 0)."""
    return np.asarray(np.maximum(x, np.float32(0)))


def relu6(x: Array) -> Array:
    """min(max(x, 0), 6)."""
    return clip(x, low=0.0, high=6.0)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), from exp(-|x|), which cannot overflow."""
    decay = np.exp(-np.abs(x))
    return np.asarray(np.where(x < 0, decay, np.float32(1)) / (np.float32(1) + decay))


def tanh(x: Array) -> Array:
    """The hyperbolic tangent."""
    return np.asarray(np.tanh(x))


def silu(x: Array) -> Array:
    """x sigmoid(x)."""
    return np.asarray(x * sigmoid(x))


def hardsigmoid(x: Array) -> Array:
    """clip(x + 3, 0, 6) / 6."""
    return np.asarray(clip(np.asarray(x + np.float32(3)), low=0.0, high=6.0) / np.float32(6))


def hardswish(x: Array) -> Array:
    """x clip(x + 3, 0, 6) / 6."""
    return np.asarray(x * clip(np.asarray(x + np.float32(3)), low=0.0, high=6.0) / np.float32(6))


def leaky_relu_type(x: ValueType, *, slope: float) -> ValueType:
    """Any finite slope."""
    _need_finite("leaky_relu", slope=slope)
    return same_type(x)


def leaky_relu(x: Array, *, slope: float) -> Array:
    """x where it is positive, slope x elsewhere."""
    return np.where(x > 0, x, x * np.float32(slope))


def elu_type(x: ValueType, *, alpha: float) -> ValueType:
    """Any finite alpha."""
    _need_finite("elu", alpha=alpha)
    return same_type(x)


def elu(x: Array, *, alpha: float) -> Array:
    """x where it is positive, alpha (exp(x) - 1) elsewhere."""
    return np.where(x > 0, x, np.float32(alpha) * np.expm1(np.minimum(x, np.float32(0))))


def clip_type(x: ValueType, *, low: float, high: float) -> ValueType:
    """low <= high; either may be infinite."""
    if low > high:
        raise GraphError(f"clip: low={low} is above high={high}")
    return same_type(x)


def clip(x: Array, *, low: float, high: float) -> Array:
    """min(max(x, low), high)."""
    return np.asarray(np.minimum(np.maximum(x, np.float32(low)), np.float32(high)))


def prelu_type(x: ValueType, weight: ValueType) -> ValueType:
    """weight (1,) for all, or (c,) for x (n, c, ...)."""
    need_float("prelu", x, weight)
    need_static("prelu", weight.shape, "weight")
    if weight.shape != (1,) and (len(x.shape) < 2 or weight.shape != x.shape[1:2]):
        raise GraphError(f"prelu: weight {show(weight.shape)} must be (1,) or one slope a channel of x {show(x.shape)}")
    return x


def prelu(x: Float[np.ndarray, "n c *spatial"], weight: Float[np.ndarray, "#c"]) -> Float[np.ndarray, "n c *spatial"]:
    """leaky_relu with learned slopes, one for all or one a channel (axis 1)."""
    slopes = weight if len(weight) == 1 else weight.reshape(-1, *(1,) * (x.ndim - 2))
    return np.where(x > 0, x, x * slopes)


def gelu_type(x: ValueType, **_approximate: str) -> ValueType:
    """Exact, or the tanh form."""
    return same_type(x)


def gelu(x: Array, *, approximate: str) -> Array:
    """x Phi(x), Phi the normal distribution; "tanh" is the fit by tanh. Hendrycks and Gimpel 2016, section 2."""
    if approximate == "tanh":
        inner = np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x * x * x)
        return np.asarray(np.float32(0.5) * x * (np.float32(1) + np.tanh(inner)))
    wide = x.astype(np.float64)
    return np.asarray(0.5 * wide * erfc(np.asarray(wide * -math.sqrt(0.5))), dtype=np.float32)


def softmax_type(x: ValueType, *, axis: int) -> ValueType:
    """One axis, counted from the front."""
    need_axes("softmax", (axis,), len(x.shape))
    return same_type(x)


def softmax(x: Array, *, axis: int) -> Array:
    """exp(x) / sum of exp(x) along the axis, from x - max(x), which cannot overflow."""
    top = x.max(axis=axis, keepdims=True, initial=-np.inf)
    powers = np.exp(x - top)
    return powers / powers.sum(axis=axis, keepdims=True)


def log_softmax(x: Array, *, axis: int) -> Array:
    """log(softmax(x)) along the axis, without ever forming a power that underflows: x - max(x) - log(sum)."""
    below = x - x.max(axis=axis, keepdims=True, initial=-np.inf)
    # The sum is at least exp(0), unless the axis is empty.
    return below - np.log(np.maximum(np.exp(below).sum(axis=axis, keepdims=True), np.float32(1)))


def _need_finite(op: str, **values: float) -> None:
    for name, value in values.items():
        if not math.isfinite(value):
            raise GraphError(f"{op}: {name} must be finite, not {value}")
