"""Products of matrices, attention and look-up."""

from __future__ import annotations

from itertools import pairwise
from math import sqrt

import torch
from torch.fx import Node as TorchNode

from secateur.errors import GraphError
from secateur.nn.lowering.builder import Builder, Call


def linear(build: Builder, call: Call) -> str:
    """aten.linear."""
    names = ("input", "weight") if call["bias"] is None else ("input", "weight", "bias")
    return build.emit("linear", *(build.real(call[name]) for name in names))


def matmul(build: Builder, call: Call) -> str:
    """aten.matmul, mm, bmm and mv."""
    right = next(call[name] for name in ("other", "mat2", "vec") if name in call.arguments)
    return _product(build, call, call["self"], right)


def _product(build: Builder, call: Call, left: object, right: object) -> str:
    """numpy's matmul; a vector becomes a matrix of one row or one column first."""
    a, b = build.real(left), build.real(right)
    if len(build.shape(a)) == 1:
        a = build.reshape(a, (1, *build.shape(a)))
    if len(build.shape(b)) == 1:
        b = build.reshape(b, (*build.shape(b), 1))
    return build.reshape(build.emit("matmul", a, b), call.shape)


def added_matmul(build: Builder, call: Call) -> str:
    """aten.addmm and baddbmm: beta * self + alpha * (left @ right)."""
    left, right = ("mat1", "mat2") if "mat1" in call.arguments else ("batch1", "batch2")
    product = _scaled(build, _product(build, call, call[left], call[right]), call["alpha"])
    if call["beta"] == 0:
        return product
    return build.emit("add", _scaled(build, build.real(call["self"]), call["beta"]), product)


def _scaled(build: Builder, name: str, factor: float) -> str:
    return name if factor == 1 else build.emit("mul", name, build.scalar(factor))


def attention(build: Builder, call: Call) -> str:
    """aten.scaled_dot_product_attention without dropout."""
    if call["dropout_p"]:
        raise GraphError(f"drops {call['dropout_p']} of the attention in evaluation too: pass 0.0 when not training")
    if call["enable_gqa"]:
        raise GraphError("shares keys among groups of queries (enable_gqa): repeat the keys instead")
    inputs = [build.real(call[name]) for name in ("query", "key", "value")]
    if call["attn_mask"] is not None:
        mask = build.value(call["attn_mask"])
        inputs.append(mask if build.types[mask].dtype == "bool" else build.cast(mask, "float32"))
    scale = 1 / sqrt(build.shape(inputs[0])[-1]) if call["scale"] is None else float(call["scale"])
    return build.emit("attention", *inputs, scale=scale, causal=bool(call["is_causal"]))


def embedding(build: Builder, call: Call) -> str:
    """aten.embedding."""
    return build.emit("embedding", build.cast(build.value(call["indices"]), "int64"), build.real(call["weight"]))


def indexed(build: Builder, call: Call) -> str:
    """aten.index and index_select by indices that are fixed while tracing.

    Along the first axis of a stored matrix it is a look-up; along another axis, pieces joined together.
    """
    x = build.value(call["self"])
    axis, index = _index(call, len(build.shape(x)))
    ids = build.known.get(index) if isinstance(index, TorchNode) else None
    if not isinstance(ids, torch.Tensor) or ids.dtype == torch.bool:
        raise GraphError("picks elements by indices that depend on the input: the graph cannot gather")
    size = build.shape(x)[axis]
    if axis == 0 and len(build.shape(x)) == 2 and size > 0 and build.types[x].dtype == "float32":
        return build.emit("embedding", build.constant(ids.long().numpy() % size, "index"), x)
    if ids.ndim != 1 or size < 0:
        raise GraphError("picks by indices that are no plain list along one axis beside the batch")
    places = [int(i) % size for i in ids]
    starts = [at for at, (last, i) in enumerate(pairwise([-2, *places])) if i != last + 1]
    runs = [places[start:stop] for start, stop in pairwise([*starts, len(places)])]
    return build.emit("concat", *(build.slice(x, axis, run[0], run[-1] + 1) for run in runs), axis=axis)


def _index(call: Call, rank: int) -> tuple[int, object]:
    if "dim" in call.arguments:
        return int(call["dim"]) % rank, call["index"]
    places = [(axis, index) for axis, index in enumerate(call["indices"]) if index is not None]
    if len(places) != 1:
        raise GraphError("indexes several axes at once: index one after the other")
    return places[0]
