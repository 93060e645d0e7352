"""A graph comes back from JSON as it was; JSON that describes no graph is an ArtifactError."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from random_networks import Net
from sample_graphs import one_node, small_net

from secateur.errors import ArtifactError, GraphError
from secateur.ir.graph import Graph, Node, ValueType
from secateur.ir.graph_json import graph_from_json, graph_to_json
from secateur.ir.strict_json import from_json, to_json


def constants_of(graph: Graph) -> dict[str, ValueType]:
    return {name: graph.types[name] for name in graph.constants}


def there_and_back(graph: Graph, tensors: dict[str, ValueType] | None = None) -> dict[str, Any]:
    tensors = constants_of(graph) if tensors is None else tensors
    data = from_json(to_json(graph_to_json(graph, tensors), "graph"), "graph")
    assert isinstance(data, dict)
    assert graph_from_json(data, tensors) == graph
    return data


def usual() -> Graph:
    """Names as tracing gives them: op, op_2, ..."""
    net = Net(-1, 1, 8, 8)
    net.conv("x", "conv1", 4, 3)
    graph = net.graph("v0")
    node = replace(graph.nodes[0], output="conv")
    second = Node("relu", ("conv",), "relu")
    third = Node("add", ("relu", "conv"), "add")
    fourth = Node("relu", ("add",), "relu_2")
    shape = graph.types["v0"]
    types = {**{name: kind for name, kind in graph.types.items() if name != "v0"}}
    types |= dict.fromkeys(["conv", "relu", "add", "relu_2"], shape)
    return Graph(("x",), ("relu_2",), graph.constants, (node, second, third, fourth), types)


def test_usual_names_and_next_constants_need_no_text():
    data = there_and_back(usual())
    assert [row[:2] for row in data["nodes"]] == [["conv", [1, 0, 0]], ["relu", [1]], ["add", [1, 2]], ["relu", [1]]]
    assert [len(row) for row in data["nodes"]] == [3, 2, 2, 2]
    assert data["outputs"] == [1]
    assert "constants" not in data


def test_other_names_are_kept():
    data = there_and_back(small_net()[0])
    assert [row[-1] for row in data["nodes"]] == ["maps", "active", "pooled", "flat", "scores"]


@pytest.mark.parametrize(
    "graph",
    [
        one_node("clip", {"x": ValueType((-1, 3))}, ValueType((-1, 3)), low=-np.inf, high=6.0),
        one_node("cast", {"x": ValueType((-1, 3), "int64")}, ValueType((-1, 3), "bool"), dtype="bool"),
        one_node("add", {"a": ValueType((-2, 3)), "b": ValueType(())}, ValueType((-2, 3))),
        one_node("mul", {"relu": ValueType((2,)), "mul": ValueType((2,))}, ValueType((2,))),
    ],
    ids=["infinity", "dtypes", "scalar", "taken names"],
)
def test_odd_graphs_come_back(graph: Graph):
    there_and_back(graph)


def test_shared_constants_other_orders_and_further_tensors_come_back():
    net = Net(-1, 6)
    net.weight("shared", 6, 6)
    net.constant("offset", np.ones(6))
    first = net.add("linear", "x", "shared")
    second = net.add("add", first, "offset")
    third = net.add("linear", second, "shared")
    graph = net.graph(third, first)
    data = there_and_back(graph)
    assert [row[1] for row in data["nodes"]] == [[1, 0], [1, 0], [1, -1]]
    assert data["outputs"] == [1, 3]
    tensors = {"unread": ValueType((3,)), **dict(reversed(constants_of(graph).items()))}
    assert there_and_back(graph, tensors)["constants"] == [2, 1]
    there_and_back(replace(graph, constants=graph.constants[::-1]))


def test_outputs_may_be_inputs_of_the_graph():
    graph = usual()
    there_and_back(replace(graph, outputs=("relu_2", "x", "relu")))


def test_a_graph_that_breaks_a_rule_cannot_be_stored():
    graph = replace(usual(), outputs=("nothing",))
    with pytest.raises(ArtifactError, match="cannot be stored") as caught:
        graph_to_json(graph, constants_of(graph))
    assert isinstance(caught.value.__cause__, GraphError)


EDITS: list[tuple[str, Any]] = [
    ("nodes", None),
    ("nodes", [["conv"]]),
    ("nodes", [["conv", [1, 0, 0], {}, "y", 5]]),
    ("nodes", [[7, [1]]]),
    ("nodes", [["abs", [1]]]),
    ("nodes", [["relu", 1]]),
    ("nodes", [["relu", [True]]]),
    ("nodes", [["relu", [2]]]),
    ("nodes", [["relu", [-3]]]),
    ("nodes", [["relu", [1], []]]),
    ("nodes", [["relu", [1], {"slope": 1.0}]]),
    ("nodes", [["relu", [1], {}, 5]]),
    ("nodes", [["relu", [1], {}, "x"]]),
    ("nodes", [["relu", [0]], ["relu", [0]], ["relu", [0]]]),
    ("nodes", [["reshape", [1], {"shape": [[-1], 64]}]]),
    ("nodes", [["reshape", [1], {"shape": [-1, 2**62]}]]),
    ("nodes", [["leaky_relu", [1], {"slope": "inf"}]]),
    ("nodes", [["leaky_relu", [1], {"slope": "high"}]]),
    ("nodes", []),
    ("inputs", [["x", [-1, 1, "8", 8]]]),
    ("inputs", [["x", [-1, 1, 0, 8]]]),
    ("inputs", [["x", [2**60, 2**60]]]),
    ("inputs", [["x", [-1, 1, 8, 8], "float64"]]),
    ("inputs", [["x", [-1, 1, 8, 8], "float32", 1]]),
    ("inputs", [["x", [-1, 1, 8, 8]], ["x", [-1, 1, 8, 8]]]),
    ("inputs", [[5, [-1]]]),
    ("inputs", []),
    ("outputs", [0, 0, 0]),
    ("outputs", ["relu_2"]),
    ("outputs", []),
    ("constants", [0, 0]),
    ("constants", [0, 2]),
    ("constants", [0, -1]),
    ("constants", {}),
]


@pytest.mark.parametrize(("member", "value"), EDITS, ids=[f"{member} {value}"[:50] for member, value in EDITS])
def test_json_that_describes_no_graph_is_refused(member: str, value: Any):
    graph = usual()
    data = dict(graph_to_json(graph, constants_of(graph)))
    data[member] = value
    with pytest.raises(ArtifactError):
        graph_from_json(data, constants_of(graph))


def mutated(value: Any, rng: np.random.Generator) -> Any:
    """The value with one of its parts exchanged for something odd."""
    odd = [None, True, -1, 0, 1, 2**62, -0.5, "", "relu", [], {}, [1], [[1]], {"stride": [1, 1]}]
    if rng.random() < 0.25 or not isinstance(value, list | dict) or not value:
        return odd[rng.integers(len(odd))]
    copy = deepcopy(value)
    keys = list(copy) if isinstance(copy, dict) else list(range(len(copy)))
    key = keys[rng.integers(len(keys))]
    copy[key] = mutated(copy[key], rng)
    return copy


def test_random_changes_give_a_graph_or_an_artifact_error():
    rng, graph, outcomes = np.random.default_rng(0), usual(), set()
    data = graph_to_json(graph, constants_of(graph))
    for _ in range(3000):
        member = list(data)[rng.integers(len(data))]
        changed = {**data, member: mutated(data[member], rng)}
        try:
            graph_from_json(changed, constants_of(graph))
        except ArtifactError:
            outcomes.add("refused")
        else:
            outcomes.add("a graph")
    assert outcomes == {"refused", "a graph"}
