"""run_graph: the values, the checks at the door, the memory it holds."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sample_graphs import one_node, small_net

import secateur.ir.interpret as interpret_module
from secateur.errors import DataError
from secateur.ir.graph import Graph, Node, ValueType
from secateur.ir.interpret import run_graph
from secateur.ir.ops import Op
from secateur.ir.verify import verify


def images(batch: int) -> np.ndarray:
    return np.random.default_rng(batch).standard_normal((batch, 1, 6, 6)).astype(np.float32)


def by_torch(constants: dict[str, np.ndarray], image: np.ndarray) -> np.ndarray:
    c = {name: torch.from_numpy(array) for name, array in constants.items()}
    maps = F.conv2d(torch.from_numpy(image), c["conv.weight"], c["conv.bias"])
    return F.linear(F.max_pool2d(F.relu(maps), 2).flatten(1), c["fc.weight"], c["fc.bias"]).numpy()


@pytest.mark.parametrize("batch", [0, 1, 5])
def test_a_small_network_equals_torch(batch: int) -> None:
    graph, constants = small_net()
    (scores,) = run_graph(graph, constants, [images(batch)])
    np.testing.assert_allclose(scores, by_torch(constants, images(batch)), rtol=1e-5, atol=1e-3)
    assert scores.shape == (batch, 3)


def test_an_example_is_the_same_alone_and_in_a_batch() -> None:
    graph, constants = small_net()
    graph = Graph(("image",), ("maps",), ("conv.weight", "conv.bias"), graph.nodes[:1], graph.types)
    (together,) = run_graph(graph, constants, [images(5)])
    alone = [run_graph(graph, constants, [images(5)[i : i + 1]])[0] for i in range(5)]
    np.testing.assert_array_equal(together, np.concatenate(alone))


def test_inputs_by_name_equal_inputs_by_order() -> None:
    graph = one_node("sub", {"a": ValueType((-1, 2)), "b": ValueType((2,))}, ValueType((-1, 2)))
    a, b = np.ones((3, 2), np.float32), np.full(2, 3, np.float32)
    (named,) = run_graph(graph, {}, {"b": b, "a": a})
    (ordered,) = run_graph(graph, {}, (a, b))
    np.testing.assert_array_equal(named, np.full((3, 2), -2.0))
    np.testing.assert_array_equal(named, ordered)


def test_merged_batch_axes_are_bound() -> None:
    graph = one_node("reshape", {"x": ValueType((-6, 2))}, ValueType((-1, 3, 4)), shape=(-1, 3, 4))
    verify(graph)
    assert run_graph(graph, {}, [np.zeros((12, 2), np.float32)])[0].shape == (2, 3, 4)


def test_a_graph_without_a_batch_runs() -> None:
    graph = one_node("relu", {"x": ValueType((2,))}, ValueType((2,)))
    np.testing.assert_array_equal(run_graph(graph, {}, [np.array([-1, 1], np.float32)])[0], [0, 1])


def test_ieee_arithmetic_without_warnings() -> None:
    graph = one_node("div", {"a": ValueType((-1,)), "b": ValueType((-1,))}, ValueType((-1,)))
    (y,) = run_graph(graph, {}, [np.array([1, 0, -1], np.float32), np.zeros(3, np.float32)])
    np.testing.assert_array_equal(y, [np.inf, np.nan, -np.inf])


IMAGE = images(2)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([IMAGE.astype(np.float64)], r"'image': expected float32 \(N, 1, 6, 6\), got float64 \(2, 1, 6, 6\)"),
        ([IMAGE[:, :, :5]], r"got float32 \(2, 1, 5, 6\)"),
        ([IMAGE[0]], r"got float32 \(1, 6, 6\)"),
        ([IMAGE.tolist()], "expected a numpy array, got list"),
        ([], r"expected 1 inputs \(image\), got 0"),
        ([IMAGE, IMAGE], "got 2"),
        (IMAGE, "put it in a list"),
        ({"picture": IMAGE}, "expected the inputs image; got picture"),
        ({}, "got none"),
    ],
)
def test_inputs_that_do_not_fit(inputs: Any, message: str) -> None:
    graph, constants = small_net()
    with pytest.raises(DataError, match=message):
        run_graph(graph, constants, inputs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fc.bias": np.zeros(4, np.float32)}, r"'fc.bias': expected float32 \(3,\), got float32 \(4,\)"),
        ({"fc.bias": np.zeros(3)}, "got float64"),
        ({"fc.bias": [0.0, 0.0, 0.0]}, "constant 'fc.bias': expected a numpy array, got list"),
    ],
)
def test_constants_that_do_not_fit(change: dict[str, Any], message: str) -> None:
    graph, constants = small_net()
    with pytest.raises(DataError, match=message):
        run_graph(graph, constants | change, [IMAGE])


def test_a_missing_constant() -> None:
    graph, constants = small_net()
    del constants["fc.bias"]
    with pytest.raises(DataError, match=r"'fc.bias' is missing"):
        run_graph(graph, constants, [IMAGE])


def test_batches_must_agree_and_divide() -> None:
    pair = one_node("add", {"a": ValueType((-1,)), "b": ValueType((-1,))}, ValueType((-1,)))
    with pytest.raises(DataError, match="disagree on the batch size: 2 from 'a', 3 from 'b'"):
        run_graph(pair, {}, [np.zeros(2, np.float32), np.zeros(3, np.float32)])
    double = one_node("relu", {"x": ValueType((-2,))}, ValueType((-2,)))
    with pytest.raises(DataError, match=r"expected float32 \(2N,\), got float32 \(3,\)"):
        run_graph(double, {}, [np.zeros(3, np.float32)])


def test_ids_outside_the_table() -> None:
    ids, table = ValueType((-1,), "int64"), ValueType((3, 2))
    graph = one_node("embedding", {"ids": ids, "table": table}, ValueType((-1, 2)))
    for wrong in (-1, 3):
        with pytest.raises(DataError, match="ids must be from 0 to 2"):
            run_graph(graph, {}, [np.array([0, wrong]), np.zeros((3, 2), np.float32)])


@pytest.mark.parametrize("name", ["x", "weight", "y"])
def test_results_belong_to_the_caller(name: str) -> None:
    node = Node("reshape", ("x",), "y", {"shape": (-1, 2)})
    types = {"x": ValueType((-1, 2)), "weight": ValueType((3,)), "y": ValueType((-1, 2))}
    graph = Graph(("x",), (name, "y"), ("weight",), (node,), types)
    x, weight = np.zeros((4, 2), np.float32), np.zeros(3, np.float32)
    result = run_graph(graph, {"weight": weight}, [x])[0]
    result += 1
    assert not x.any()
    assert not weight.any()
    assert result.flags.c_contiguous
    assert x.flags.writeable


def test_dead_values_are_freed_while_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[weakref.ref[np.ndarray]] = []
    most = 0

    def watch(array: np.ndarray) -> np.ndarray:
        nonlocal most
        result = array + np.float32(1)
        alive.append(weakref.ref(result))
        most = max(most, sum(ref() is not None for ref in alive))
        return result

    monkeypatch.setattr(interpret_module, "OPS", {"relu": Op("relu", (1, 1), lambda x: x, watch)})
    nodes = tuple(Node("relu", (f"v{i}",), f"v{i + 1}") for i in range(20))
    graph = Graph(("v0",), ("v20",), (), nodes, {f"v{i}": ValueType((-1,)) for i in range(21)})
    (y,) = run_graph(graph, {}, [np.zeros(2, np.float32)])
    np.testing.assert_array_equal(y, [20, 20])
    assert most <= 3
