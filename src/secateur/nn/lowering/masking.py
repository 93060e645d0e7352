"""Comparisons, logic and choices, from casts and arithmetic: cast to bool is "x != 0", 1 - m is "not".

A choice is a * m + b * (1 - m), exact for finite a and b; an infinite constant becomes the largest finite float32,
which softmax treats alike.
"""

from __future__ import annotations

import math

import numpy as np

from secateur.errors import GraphError
from secateur.nn.lowering.builder import Builder, Call, Lowering

HIGHEST = float(np.finfo(np.float32).max)


def compared(form: str) -> Lowering:
    """eq, ne, gt, lt, ge, le, by the sign of the difference (exact: it is 0 only between equals)."""

    def lower(build: Builder, call: Call) -> str:
        left, right = (call["other"], call["self"]) if form in ("lt", "ge") else (call["self"], call["other"])
        dtype = "int64" if all(_is_whole(build, side) for side in (left, right)) else "float32"
        left, right = (build.operand(side, dtype) for side in (left, right))
        difference = left if build.uniform.get(right) == 0 else build.emit("sub", left, right)
        if form not in ("eq", "ne"):
            difference = build.emit("relu", build.cast(difference, "float32"))
        differ = build.cast(difference, "bool")
        return differ if form in ("ne", "gt", "lt") else _not(build, differ)

    return lower


def _is_whole(build: Builder, side: object) -> bool:
    if isinstance(side, bool | int | float):
        return not isinstance(side, float)
    return build.types[build.value(side)].dtype != "float32"


def _not(build: Builder, mask: str) -> str:
    return build.cast(_complement(build, mask), "bool")


def _complement(build: Builder, mask: str) -> str:
    """1.0 where a mask is 0, else 0.0."""
    return build.emit("sub", build.scalar(1.0), _number(build, mask))


def _number(build: Builder, mask: str) -> str:
    """0.0 or 1.0 for a mask of any dtype."""
    return build.cast(build.cast(mask, "bool"), "float32")


def logical_not(build: Builder, call: Call) -> str:
    """logical_not, and bitwise_not of a bool."""
    _bool_only(call)
    return _not(build, build.value(call["self"]))


def logical(op: str) -> Lowering:
    """logical_and, bitwise_and (mul) and logical_or, bitwise_or (add) of bools."""

    def lower(build: Builder, call: Call) -> str:
        _bool_only(call)
        left, right = (_number(build, build.value(call[name])) for name in ("self", "other"))
        return build.cast(build.emit(op, left, right), "bool")

    return lower


def _bool_only(call: Call) -> None:
    if call.type.dtype != "bool":
        raise GraphError("works on the bits of whole numbers, which the graph does not")


def where(build: Builder, call: Call) -> str:
    """aten.where(condition, a, b)."""
    return _chosen(build, call, call["condition"], call["self"], call["other"])


def masked_fill(build: Builder, call: Call) -> str:
    """aten.masked_fill(x, mask, value)."""
    return _chosen(build, call, call["mask"], call["value"], call["self"])


def _chosen(build: Builder, call: Call, condition: object, yes: object, no: object) -> str:
    """yes where the condition holds, else no. A branch that is zero everywhere needs no term."""
    mask, inside, outside = build.value(condition), _finite(build, yes), _finite(build, no)
    terms: list[str] = []
    if build.uniform.get(outside) != 0:
        terms.append(build.emit("mul", outside, _complement(build, mask)))
    if build.uniform.get(inside) != 0 or not terms:
        terms.append(build.emit("mul", inside, _number(build, mask)))
    y = terms[0] if len(terms) == 1 else build.emit("add", *terms)
    if build.shape(y) != call.shape:  # the zero branch was the one with this shape
        y = build.emit("add", y, build.expand(build.scalar(0.0), call.shape))
    return build.cast(y, call.type.dtype)


def _finite(build: Builder, branch: object) -> str:
    name = build.real(branch)
    number = build.uniform.get(name)
    if number is None or not math.isinf(number):
        return name
    build.note("infinite numbers in masks stand as the largest finite float32: a fully masked softmax row is no NaN")
    return build.expand(build.scalar(math.copysign(HIGHEST, number)), build.shape(name))
