"""Pooling over windows and to a given output size, in one to three dimensions."""

from __future__ import annotations

from secateur.errors import GraphError
from secateur.ir.graph import Attribute
from secateur.nn.lowering.builder import Builder, Call, Lowering, Result, per_dimension


def max_pool(dimensions: int) -> Lowering:
    """aten.max_poolNd; a form that also gives indices offers its values only."""

    def lower(build: Builder, call: Call) -> Result:
        attributes = _window(call, dimensions) | {"dilation": per_dimension(call["dilation"], dimensions)}
        return _pool(build, call, "max_pool", attributes)

    return lower


def average_pool(dimensions: int) -> Lowering:
    """aten.avg_poolNd."""

    def lower(build: Builder, call: Call) -> Result:
        if call.get("divisor_override") is not None:
            raise GraphError("sets divisor_override, which the graph's average_pool does not have")
        attributes = _window(call, dimensions) | {"count_include_pad": bool(call["count_include_pad"])}
        return _pool(build, call, "average_pool", attributes)

    return lower


def adaptive_pool(op: str, dimensions: int) -> Lowering:
    """aten.adaptive_avg_poolNd and adaptive_max_poolNd (which offers its values only)."""

    def lower(build: Builder, call: Call) -> Result:
        return _pool(build, call, op, {"output": call.shape[-dimensions:]})

    return lower


def _window(call: Call, dimensions: int) -> dict[str, Attribute]:
    kernel = per_dimension(call["kernel_size"], dimensions)
    return {
        "kernel": kernel,
        "stride": per_dimension(call["stride"], dimensions) or kernel,
        "padding": per_dimension(call["padding"], dimensions),
        "ceil_mode": bool(call["ceil_mode"]),
    }


def _pool(build: Builder, call: Call, op: str, attributes: dict[str, Attribute]) -> Result:
    y = build.emit(op, build.real(call["self"]), **attributes)
    return y if len(call.types) == 1 else (y, *(None for _ in call.types[1:]))
