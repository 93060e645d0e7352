"""Products of matrices: linear layers, matmul, attention, and the embedding (a product with one-hot rows)."""

from __future__ import annotations

import math
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from secateur.errors import DataError, GraphError
from secateur.ir.graph import ValueType
from secateur.ir.ops.op import Effort
from secateur.ir.ops.sizes import broadcast, need_dtype, need_float, need_shape, need_static, show

if TYPE_CHECKING:
    from jaxtyping import Float, Int64


def linear_type(x: ValueType, weight: ValueType, *bias: ValueType) -> ValueType:
    """x (..., i), weight (o, i), bias (o,) -> (..., o)."""
    need_float("linear", x, weight, *bias)
    if len(weight.shape) != 2 or not x.shape or x.shape[-1] != weight.shape[1]:
        raise GraphError(
            f"linear: x {show(x.shape)} must end in the second size of a matrix, weight {show(weight.shape)}"
        )
    need_static("linear", weight.shape, "weight")
    for value in bias:
        need_shape("linear", value, weight.shape[:1], "bias")
    return ValueType((*x.shape[:-1], weight.shape[0]))


def linear(
    x: Float[np.ndarray, "*n i"], weight: Float[np.ndarray, "o i"], *bias: Float[np.ndarray, " o"]
) -> Float[np.ndarray, "*n o"]:
    """x weight^T + bias."""
    y = x.reshape(prod(x.shape[:-1]), x.shape[-1]) @ weight.T
    for value in bias:
        y += value
    return y.reshape(*x.shape[:-1], len(weight))


def linear_macs(x: ValueType, weight: ValueType, *_bias: ValueType) -> int:
    """One for every weight and row of x."""
    return prod(x.bind(1)) * weight.shape[0]


def product_effort(_output: ValueType, *inputs: ValueType) -> Effort:
    """The factors may be copied to be multiplied."""
    size = sum(prod(value.shape) for value in inputs)
    return Effort(4 * size, size)


def matmul_type(a: ValueType, b: ValueType) -> ValueType:
    """a (..., i, j), b (..., j, k) -> (..., i, k); leading axes broadcast."""
    need_float("matmul", a, b)
    if len(a.shape) < 2 or len(b.shape) < 2 or a.shape[-1] != b.shape[-2]:
        raise GraphError(
            f"matmul: {show(a.shape)} @ {show(b.shape)}: both must be matrices (reshape a vector first), "
            "and the last size of a must be the last but one of b"
        )
    return ValueType((*broadcast("matmul", a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]))


def matmul(a: Float[np.ndarray, "*a i j"], b: Float[np.ndarray, "*b j k"]) -> Float[np.ndarray, "*ab i k"]:
    """a @ b, over broadcast leading axes."""
    return np.matmul(a, b)


def matmul_macs(a: ValueType, b: ValueType) -> int:
    """One for every output and step of the inner sum."""
    return prod(matmul_type(a, b).bind(1)) * abs(a.shape[-1])


def attention_type(q: ValueType, k: ValueType, v: ValueType, *mask: ValueType, scale: float, causal: bool) -> ValueType:
    """q (..., l, e), k (..., s, e), v (..., s, d), mask broadcastable to (..., l, s) -> (..., l, d)."""
    need_float("attention", q, k, v)
    if not math.isfinite(scale):
        raise GraphError("attention: scale must be finite")
    shapes = [value.shape for value in (q, k, v)]
    if min(map(len, shapes)) < 2 or q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        raise GraphError(
            f"attention: q, k, v {', '.join(map(show, shapes))} must be (..., l, e), (..., s, e), (..., s, d)"
        )
    lead = broadcast("attention", *(shape[:-2] for shape in shapes))
    scores = (*lead, q.shape[-2], k.shape[-2])
    for value in mask:
        need_dtype("attention's mask", ("bool", "float32"), value)
        if causal:
            raise GraphError("attention: give a mask or causal=True, not both; merge the triangle into the mask")
        if broadcast("attention", scores, value.shape) != scores:
            raise GraphError(f"attention: mask {show(value.shape)} must broadcast to the scores {show(scores)}")
    return ValueType((*lead, q.shape[-2], v.shape[-1]))


def attention(
    q: Float[np.ndarray, "*q l e"],
    k: Float[np.ndarray, "*k s e"],
    v: Float[np.ndarray, "*v s d"],
    *mask: np.ndarray,
    scale: float,
    causal: bool,
) -> Float[np.ndarray, "*qkv l d"]:
    """softmax(scale q k^T + mask) v. Vaswani et al. 2017, equation 1.

    A bool mask says where to attend, a float one is added; causal: query i sees the keys 0 .. i. A query that may see
    nothing gets zeros, as in torch.
    """
    scores = np.matmul(q, np.swapaxes(k, -1, -2)) * np.float32(scale)
    if causal:
        mask = (np.tri(*scores.shape[-2:], dtype=bool),)
    for value in mask:
        scores = np.where(value, scores, np.float32(-np.inf)) if value.dtype == np.bool_ else scores + value
    top = scores.max(axis=-1, keepdims=True, initial=-np.inf)
    weights = np.exp(scores - np.where(np.isneginf(top), np.float32(0), top))
    total = weights.sum(axis=-1, keepdims=True)
    return np.matmul(weights / np.where(total == 0, np.float32(1), total), v)


def attention_macs(q: ValueType, k: ValueType, v: ValueType, *mask: ValueType, scale: float, causal: bool) -> int:
    """Both products in full: a mask saves nothing in a dense execution."""
    *lead, queries, depth = attention_type(q, k, v, *mask, scale=scale, causal=causal).bind(1)
    return prod(lead) * queries * abs(k.shape[-2]) * (abs(q.shape[-1]) + depth)


def attention_effort(
    output: ValueType, q: ValueType, k: ValueType, v: ValueType, *_mask: ValueType, **_attributes: object
) -> Effort:
    """The scores, five times over, and copies of the factors."""
    scores = prod(output.shape[:-1]) * k.shape[-2]
    return Effort(24 * scores + 4 * sum(prod(value.shape) for value in (q, k, v)), 12 * scores)


def embedding_type(ids: ValueType, weight: ValueType) -> ValueType:
    """ids (...), weight (rows, d) -> (..., d)."""
    need_dtype("embedding's ids", ("int64",), ids)
    need_float("embedding", weight)
    if len(weight.shape) != 2:
        raise GraphError(f"embedding: weight {show(weight.shape)} must be a matrix, one row an id")
    need_static("embedding", weight.shape, "weight")
    return ValueType((*ids.shape, weight.shape[1]))


def embedding(ids: Int64[np.ndarray, "*n"], weight: Float[np.ndarray, "rows d"]) -> Float[np.ndarray, "*n d"]:
    """The rows of `weight` that `ids` name. DataError for an id that names none."""
    if ids.size and (ids.min() < 0 or ids.max() >= len(weight)):
        raise DataError(f"ids must be from 0 to {len(weight) - 1}; found {ids.min()} to {ids.max()}")
    return weight[ids]
