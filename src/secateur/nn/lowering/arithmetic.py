"""Sums, products and means, casts, maps on a grid, and tensors filled with one number."""

from __future__ import annotations

from secateur.errors import GraphError
from secateur.nn.lowering.builder import Builder, Call, Lowering


def binary(op: str) -> Lowering:
    """aten.add, sub, mul, div with tensors or numbers; add and sub take `alpha`, a factor of the second operand."""

    def lower(build: Builder, call: Call) -> str:
        if call.get("rounding_mode") is not None:
            raise GraphError(f"rounds the quotient ({call['rounding_mode']}), which the graph's div does not")
        return _combined(build, call, op, call["self"], call["other"])

    return lower


def reversed_sub(build: Builder, call: Call) -> str:
    """aten.rsub: other - alpha * self."""
    return _combined(build, call, "sub", call["other"], call["self"])


def _combined(build: Builder, call: Call, op: str, left: object, right: object) -> str:
    """Whole numbers stay whole (int64); all else, bools included, is computed in float32."""
    dtype = "int64" if call.type.dtype == "int64" else "float32"
    alpha = call.get("alpha", 1)
    if alpha != 1 and isinstance(right, bool | int | float):
        right, alpha = right * alpha, 1
    a, b = (build.operand(side, dtype) for side in (left, right))
    if alpha != 1:
        b = build.emit("mul", b, build.scalar(alpha, dtype))
    return build.cast(build.emit(op, a, b), call.type.dtype)


def fake_quantize(build: Builder, call: Call) -> str:
    """secateur.fake_quantize: a map on the grid of its codes."""
    x, scale = build.real(call["x"]), build.real(call["scale"])
    return build.emit("fake_quantize", x, scale, bits=call["bits"], signed=call["signed"])


def dynamic_quantize(build: Builder, call: Call) -> str:
    """secateur.dynamic_quantize: a map on the grids of its codes, at scales that it finds."""
    x, least = build.real(call["x"]), build.real(call["least"])
    axes = tuple(int(axis) for axis in call["axes"])
    return build.emit("dynamic_quantize", x, least, bits=call["bits"], signed=call["signed"], axes=axes)


def negated(build: Builder, call: Call) -> str:
    """aten.neg."""
    dtype = call.type.dtype
    return build.emit("mul", build.operand(call["self"], dtype), build.scalar(-1, dtype))


def reciprocal(build: Builder, call: Call) -> str:
    """aten.reciprocal."""
    return build.emit("div", build.scalar(1.0), build.real(call["self"]))


def absolute(build: Builder, call: Call) -> str:
    """aten.abs: relu(x) + relu(-x)."""
    x = build.real(call["self"])
    mirrored = build.emit("mul", x, build.scalar(-1.0))
    return build.cast(build.emit("add", build.emit("relu", x), build.emit("relu", mirrored)), call.type.dtype)


def power(build: Builder, call: Call) -> str:
    """aten.pow with a whole exponent from 1 to 8, as products."""
    exponent = call["exponent"]
    if exponent not in range(1, 9):
        raise GraphError(f"raises to the power {exponent}; the graph has whole powers from 1 to 8, as products")
    x = y = build.operand(call["self"], call.type.dtype)
    for _ in range(int(exponent) - 1):
        y = build.emit("mul", y, x)
    return y


def reduction(op: str) -> Lowering:
    """aten.mean and aten.sum over some axes (no list or an empty one: all)."""

    def lower(build: Builder, call: Call) -> str:
        x = build.operand(call["self"], call.type.dtype)
        rank = len(build.shape(x))
        dims = call.get("dim")
        axes = tuple(sorted(int(axis) % rank for axis in dims)) if dims else tuple(range(rank))
        if any(build.shape(x)[axis] < 0 for axis in axes):
            build.note(f"{call.target} {call.where} mixes the examples of a batch")
        return build.emit(op, x, axes=axes, keepdims=bool(call.get("keepdim"))) if rank else x

    return lower


def cast(build: Builder, call: Call) -> str:
    """aten._to_copy: another dtype (whole numbers of any width are int64)."""
    return build.operand(call["self"], call.type.dtype)


def filled(build: Builder, call: Call) -> str:
    """zeros, ones, full and their _like and new_ forms whose size depends on the batch: one number, expanded."""
    name = call.target.split(".")[1].removeprefix("new_").removesuffix("_like")
    number = {"zeros": 0.0, "ones": 1.0}.get(name, call.get("fill_value"))
    if not isinstance(number, bool | int | float):
        raise GraphError("fills a tensor with a number known only at run time")
    return build.expand(build.scalar(number, call.type.dtype), call.shape)
