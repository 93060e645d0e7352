"""Recurrent layers: hand-made values, costs, inputs that do not fit. Their laws are in tests/laws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from secateur.errors import GraphError
from secateur.ir.count import count
from secateur.ir.graph import Graph, Node, ValueType
from secateur.ir.ops import OPS
from secateur.ir.ops.recurrent import gru, lstm, rnn
from secateur.ir.verify import verify


def f32(*numbers: Any) -> np.ndarray:
    return np.array(numbers, np.float32)


ONE, NONE = np.ones((1, 1), np.float32), np.zeros(1, np.float32)
COUNTING = {"reverse": False, "nonlinearity": "relu"}


def test_a_plain_layer_adds_up_and_backwards_from_the_last_step() -> None:
    x = f32([[1], [2], [4]])
    np.testing.assert_array_equal(rnn(x, ONE, ONE, NONE, NONE, **COUNTING), f32([[1], [3], [7]]))
    np.testing.assert_array_equal(
        rnn(x, ONE, ONE, NONE, NONE, f32([10]), **COUNTING | {"reverse": True}), f32([[17], [16], [14]])
    )


def test_an_open_lstm_remembers_and_a_shut_one_forgets() -> None:
    """Gates i, f, g, o: with all open and a small input the cell adds up tanh(x)."""
    weights = f32([0], [0], [1], [0])
    biases = f32(100, 100, 0, 100)
    x = f32([[0.5], [0.25]])
    both = lstm(x, weights, np.zeros((4, 1), np.float32), biases, 0 * biases, reverse=False, cell=True)
    cells = np.cumsum(np.tanh(x), axis=1)
    np.testing.assert_allclose(both, np.concatenate([np.tanh(cells), cells], 2), rtol=1e-6)
    shut = lstm(
        x, weights, np.zeros((4, 1), np.float32), biases * f32(1, -1, 1, 1), 0 * biases, reverse=False, cell=True
    )
    np.testing.assert_allclose(shut[..., 1:], np.tanh(x), rtol=1e-6)


def test_an_update_gate_of_one_keeps_the_state() -> None:
    weights = np.zeros((3, 1), np.float32)
    y = gru(f32([[5], [6]]), weights, weights, f32(0, 100, 0), f32(0, 0, 0), f32([0.25]), reverse=False)
    np.testing.assert_array_equal(y, f32([[0.25], [0.25]]))


def types(gates: int, hidden: int = 3) -> list[ValueType]:
    rows = gates * hidden
    return [ValueType(shape) for shape in ((-1, 4, 2), (rows, 2), (rows, hidden), (rows,), (rows,))]


def changed(gates: int, place: int, shape: tuple[int, ...], dtype: str = "float32") -> list[ValueType]:
    found = types(gates)
    return [*found[:place], ValueType(shape, dtype), *found[place + 1 :]]


WAY = {"reverse": False}
BOTH = {"reverse": False, "cell": True}


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "message"),
    [
        ("gru", changed(3, 0, (-1, 2)), WAY, r"x \(N, 2\) must be \(batch, time, 2\)"),
        ("gru", changed(3, 0, (-1, 4, 3)), WAY, r"must be \(batch, time, 2\)"),
        ("gru", changed(3, 0, (2, -1, 2)), WAY, "time .* must not depend on the batch"),
        ("gru", changed(3, 0, (-1, 4, 2), "int64"), WAY, "cast first"),
        ("gru", changed(3, 1, (8, 2)), WAY, "matrices of 3 times the hidden units"),
        ("gru", changed(3, 1, (9, 2, 1)), WAY, "matrices of 3 times"),
        ("gru", changed(3, 1, (-9, 2)), WAY, "w_ih .* must not depend on the batch"),
        ("gru", changed(3, 2, (9, 4)), WAY, r"w_hh must have shape \(9, 3\)"),
        ("gru", changed(3, 2, (6, 3)), WAY, "matrices of 3 times"),
        ("gru", changed(3, 2, (9,)), WAY, "matrices of 3 times"),
        ("gru", changed(3, 3, (3,)), WAY, r"b_ih must have shape \(9,\)"),
        ("gru", changed(3, 4, (9, 1)), WAY, r"b_hh must have shape \(9,\)"),
        ("gru", [*types(3), ValueType((-1, 2))], WAY, r"h0 must have shape \(N, 3\)"),
        ("gru", [*types(3), ValueType((2, 3))], WAY, r"h0 must have shape \(N, 3\)"),
        ("gru", [*types(3)] * 2, WAY, "takes 5 to 6 inputs"),
        ("rnn", types(1), WAY | {"nonlinearity": "sin"}, "must be one of tanh, relu"),
        ("rnn", types(1), {"reverse": 1, "nonlinearity": "tanh"}, "must be a bool"),
        ("lstm", changed(4, 2, (12, 2)), BOTH, r"w_hh must have shape \(12, 3\)"),
        ("lstm", [*types(4), ValueType((2, 3))], BOTH, r"w_hr must have shape \(3, 3\)"),
        ("lstm", [*types(4), ValueType((3,))], BOTH, r"w_hr must have shape \(3, 3\)"),
        ("lstm", [*types(4), ValueType((-1, 3)), ValueType((-1, 2))], BOTH, r"c0 must have shape \(N, 3\)"),
        ("lstm", [*types(4), ValueType((-2, 3)), ValueType((-1, 3))], BOTH, r"h0 must have shape \(N, 3\)"),
        ("lstm", types(4)[:4], BOTH, "takes 5 to 8 inputs"),
    ],
)
def test_what_does_not_fit_is_refused(op: str, inputs: list[ValueType], attributes: dict, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        OPS[op].shape(inputs, attributes)


def net(types_: dict[str, tuple[int, ...]], *, states: int, projection: bool) -> tuple[Graph, dict[str, np.ndarray]]:
    names = ["x", "w_ih", "w_hh", "b_ih", "b_hh", *["w_hr"] * projection, *["h0", "c0"][:states]]
    known = {name: ValueType(types_[name]) for name in names}
    known["y"] = OPS["lstm"].shape([known[name] for name in names], BOTH)
    constants = {name: np.ones(types_[name], np.float32) for name in names if name[0] in "wb"}
    inputs = tuple(name for name in names if name not in constants)
    graph = Graph(inputs, ("y",), tuple(constants), (Node("lstm", tuple(names), "y", BOTH),), known)
    verify(graph, {name: ValueType(array.shape) for name, array in constants.items()})
    return graph, constants


@pytest.mark.parametrize("states", [0, 2])
@pytest.mark.parametrize("projection", [False, True])
def test_every_weight_counts_once_a_step(states: int, projection: bool) -> None:
    outputs = 2 if projection else 3
    shapes = {"x": (-1, 5, 4), "w_ih": (12, 4), "w_hh": (12, outputs), "b_ih": (12,), "b_hh": (12,), "w_hr": (2, 3)}
    graph, constants = net(shapes | {"h0": (-1, outputs), "c0": (-1, 3)}, states=states, projection=projection)
    size = 12 * 4 + 12 * outputs + 6 * projection
    assert count(graph, constants).macs == 5 * size
    for name, zeros in (("w_ih", 7), ("w_hh", 5), *((("w_hr", 3),) if projection else ())):
        constants[name].flat[:zeros] = 0
        size -= zeros
        found = count(graph, constants)
        assert (found.macs, found.effective_macs) == (5 * (size + _zeros(constants)), 5 * size)


def _zeros(constants: dict[str, np.ndarray]) -> int:
    return sum(int((array == 0).sum()) for array in constants.values())


def test_a_matrix_used_twice_counts_twice() -> None:
    square = ValueType((3, 3))
    known = {"x": ValueType((-1, 2, 3)), "w": square, "b": ValueType((3,)), "y": ValueType((-1, 2, 3))}
    node = Node("rnn", ("x", "w", "w", "b", "b"), "y", {"reverse": False, "nonlinearity": "tanh"})
    found = count(Graph(("x",), ("y",), ("w", "b"), (node,), known), {"w": np.eye(3, dtype=np.float32), "b": NONE})
    assert (found.macs, found.effective_macs) == (2 * 18, 2 * 6)
