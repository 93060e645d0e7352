"""Recurrent layers: a node for every layer and direction, of which the last states are slices.

Biases that a layer does not have are zeros, as for the norms; initial states that are known to be zero are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from secateur.errors import GraphError
from secateur.ir.graph import Attribute
from secateur.nn.lowering.builder import Builder, Call, Lowering, Result


@dataclass(frozen=True)
class _Direction:
    """One direction of one layer: weights, biases, an LSTM's projection if it has one, initial states if not zero."""

    reverse: bool
    parameters: tuple[str, ...]
    states: tuple[str, ...]


def layer(op: str, **attributes: Attribute) -> Lowering:
    """aten.lstm, gru, rnn_tanh, rnn_relu: the output of all steps, the last hidden and, of an LSTM, cell states."""

    def lower(build: Builder, call: Call) -> Result:
        if call["train"] and call["dropout"]:
            raise GraphError(f"drops {call['dropout']} between the layers in evaluation too: use model.eval()")
        cell = {"cell": call.read[2]} if op == "lstm" else {}
        lasts: list[list[str]] = [[], []]
        x = _swapped(build, build.real(call["input"]), call)
        for directions in _layers(build, call):
            found = []
            for one in directions:
                inputs = (x, *one.parameters, *one.states)
                y = build.emit(op, *inputs, reverse=one.reverse, **cell, **attributes)
                outputs, width = build.shape(one.parameters[1])[1], build.shape(y)[2]
                found.append(build.slice(y, 2, 0, outputs))
                lasts[0].append(_last(build, found[-1], one.reverse))
                if width > outputs:
                    lasts[1].append(_last(build, build.slice(y, 2, outputs, width), one.reverse))
            x = _joined(build, found, 2)
        states = tuple(_joined(build, part, 0) if part else None for part in lasts[: len(call.types) - 1])
        return _swapped(build, x, call), *states

    return lower


def _layers(build: Builder, call: Call) -> Iterator[list[_Direction]]:
    """The directions of every layer, in torch's order of parameters and states."""
    ways = 2 if call["bidirectional"] else 1
    names = [build.real(parameter) for parameter in call["params"]]
    each = len(names) // (ways * int(call["num_layers"]))
    hx = call["hx"] if isinstance(call["hx"], list | tuple) else [call["hx"]]
    states = [build.real(state) for state in hx]
    if all(build.uniform.get(state) == 0 for state in states):
        states = []
    for first in range(0, len(names), each * ways):
        found = []
        for way in range(ways):
            start = first + way * each
            parameters = tuple(names[start : start + each])
            if not call["has_biases"]:
                rows = build.shape(parameters[0])[:1]
                zeros = build.constant(np.zeros(rows, np.float32), "zeros")
                parameters = (*parameters[:2], zeros, zeros, *parameters[2:])
            picked = tuple(_state(build, state, start // each) for state in states)
            found.append(_Direction(way == 1, parameters, picked))
        yield found


def _state(build: Builder, states: str, number: int) -> str:
    """One direction's initial state, (batch, features), of those of all, (layers * directions, batch, features)."""
    return build.reshape(build.slice(states, 0, number, number + 1), build.shape(states)[1:])


def _last(build: Builder, y: str, reverse: bool) -> str:
    """The state after the last step that was computed, (1, batch, features)."""
    batch, steps, width = build.shape(y)
    at = 0 if reverse else steps - 1
    return build.reshape(build.slice(y, 1, at, at + 1), (1, batch, width))


def _swapped(build: Builder, x: str, call: Call) -> str:
    """Between the graph's order, the batch first, and the call's."""
    return x if call["batch_first"] else build.emit("permute", x, axes=(1, 0, 2))


def _joined(build: Builder, parts: list[str], axis: int) -> str:
    return parts[0] if len(parts) == 1 else build.emit("concat", *parts, axis=axis)
