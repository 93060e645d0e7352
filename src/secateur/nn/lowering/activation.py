"""Activations: element by element, and softmax. Dropout, which does nothing at inference."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from secateur.errors import GraphError
from secateur.ir.graph import Attribute
from secateur.nn.lowering.builder import Builder, Call, Lowering


def _activation(op: str, attributes: Callable[[Call], dict[str, Attribute]]) -> Lowering:
    def lower(build: Builder, call: Call) -> str:
        return build.emit(op, build.real(call["self"]), **attributes(call))

    return lower


def plain(op: str) -> Lowering:
    """An activation without options, the graph's `op`."""
    return _activation(op, lambda _: {})


leaky_relu = _activation("leaky_relu", lambda call: {"slope": float(call["negative_slope"])})
gelu = _activation("gelu", lambda call: {"approximate": call["approximate"]})
hardtanh = _activation("clip", lambda call: {"low": float(call["min_val"]), "high": float(call["max_val"])})


def clamp(build: Builder, call: Call) -> str:
    """aten.clamp: an end that is not given is infinite; clamp(min=0) is relu."""
    low, high = call.get("min"), call.get("max")
    x = build.real(call["self"])
    if low == 0 and high is None:
        y = build.emit("relu", x)
    else:
        y = build.emit("clip", x, low=-inf if low is None else float(low), high=inf if high is None else float(high))
    return build.cast(y, call.type.dtype)


def elu(build: Builder, call: Call) -> str:
    """aten.elu(x, alpha, scale, input_scale): ELU, and SELU, which has a factor behind it."""
    if call["input_scale"] != 1:
        raise GraphError("scales its input, which the graph's elu does not do")
    y = build.emit("elu", build.real(call["self"]), alpha=float(call["alpha"]))
    return y if call["scale"] == 1 else build.emit("mul", y, build.scalar(call["scale"]))


def prelu(build: Builder, call: Call) -> str:
    """aten.prelu: one slope, or one a channel."""
    return build.emit("prelu", build.real(call["self"]), build.real(call["weight"]))


def softmax(build: Builder, call: Call) -> str:
    """aten.softmax along one axis."""
    x = build.real(call["self"])
    return build.emit("softmax", x, axis=int(call["dim"]) % len(build.shape(x)))


def log_softmax(build: Builder, call: Call) -> str:
    """aten.log_softmax along one axis, with which many classifiers end."""
    x = build.real(call["self"])
    return build.emit("log_softmax", x, axis=int(call["dim"]) % len(build.shape(x)))


def dropout(build: Builder, call: Call) -> str:
    """aten.dropout: nothing, unless it stays on in evaluation."""
    if call["train"] and call["p"]:
        raise GraphError("drops at random in evaluation too: pass training=self.training, or use nn.Dropout")
    return build.value(call["input"])
