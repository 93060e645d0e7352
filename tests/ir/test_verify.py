"""verify accepts sound graphs, names what is wrong with others, and survives anything a file can hold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_graphs import CONV, POOL, one_node, small_net

from secateur.errors import GraphError
from secateur.ir.graph import Graph, Node, ValueType
from secateur.ir.verify import verify

F = ValueType
HUGE = 10**6000  # Python refuses to print it
ODD: list[Any] = [
    *(None, True, False, 0, -1, 1, HUGE, -HUGE, 2**40, -(2**40), 2**41, 0.0, float("nan"), float("inf"), 1e300),
    *("", "conv", "image", "\ud800", "x" * 5000, b"image", (), [], {}, {1: 2}, {"": 1}, {HUGE: HUGE}),
    *((HUGE,), (1, (2, (3,))), (True,), (0,), ("image",), ("image", "image"), (None,), (1,) * 40, ((),), [1], object()),
    *(ValueType((1,)), ValueType((HUGE, 0)), ValueType([1]), ValueType((1,), ["float32"]), ValueType(None, None)),
    *(Node("relu", ("image",), "scores"), Node(None, None, None, None), Graph((), (), (), (), {})),
]


def edited(**changes: Any) -> Graph:
    return replace(small_net()[0], **changes)


def with_node(position: int, **changes: Any) -> Graph:
    nodes = list(small_net()[0].nodes)
    nodes[position] = replace(nodes[position], **changes)
    return edited(nodes=tuple(nodes))


def with_type(name: str, value: Any) -> Graph:
    return edited(types={**small_net()[0].types, name: value})


def without(mapping: Any, name: str) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if key != name}


def test_a_sound_graph_passes() -> None:
    graph, constants = small_net()
    verify(graph)
    verify(graph, {name: ValueType(array.shape) for name, array in constants.items()})


def test_inputs_and_constants_may_be_outputs() -> None:
    verify(edited(outputs=("image", "scores", "fc.bias", "maps")))


def test_an_unused_input_is_no_error() -> None:
    graph = small_net()[0]
    verify(edited(inputs=("image", "temperature"), types={**graph.types, "temperature": F(())}))


def test_merged_and_repeated_batch_axes() -> None:
    verify(one_node("reshape", {"x": F((-1, 6, 2))}, F((-6, 2)), shape=(-6, 2)))
    verify(one_node("matmul", {"a": F((-1, 3)), "b": F((3, -1))}, F((-1, -1))))


NODES = small_net()[0].nodes
TYPES = small_net()[0].types

BROKEN: dict[str, tuple[Graph, str]] = {
    "unknown op": (with_node(1, op="rellu"), "did you mean relu"),
    "op far from all": (with_node(1, op="fft"), "closed list"),
    "too many inputs": (with_node(1, inputs=("maps", "maps")), "relu takes 1 inputs, not 2"),
    "too few inputs": (with_node(4, inputs=("flat",)), "linear takes 2 to 3 inputs, not 1"),
    "missing attribute": (with_node(0, attributes=without(CONV, "groups")), "lacks its attribute 'groups'"),
    "unknown attribute": (with_node(0, attributes=CONV | {"bias": True}), "no attribute 'bias'"),
    "attribute's name is no string": (with_node(0, attributes=CONV | {3: True}), "of type int"),
    "bool for int": (with_node(0, attributes=CONV | {"groups": True}), "not bool"),
    "list for tuple": (with_node(0, attributes=CONV | {"stride": [1, 1]}), "not list"),
    "bool in a tuple": (with_node(0, attributes=CONV | {"stride": (True, 1)}), "ints from 0"),
    "int for bool": (with_node(2, attributes=POOL | {"ceil_mode": 0}), "must be a bool"),
    "stride 0": (with_node(0, attributes=CONV | {"stride": (0, 1)}), "at least 1"),
    "huge attribute": (with_node(0, attributes=CONV | {"groups": HUGE}), r"2\*\*40"),
    "huge padding": (with_node(0, attributes=CONV | {"padding": (2**39, 2**39), "stride": (2**39,) * 2}), "absurdly"),
    "int for float": (one_node("elu", {"x": F((-1,))}, F((-1,)), alpha=1), "must be a float, not int"),
    "nan": (one_node("elu", {"x": F((-1,))}, F((-1,)), alpha=float("nan")), "nan is none"),
    "infinite": (one_node("elu", {"x": F((-1,))}, F((-1,)), alpha=float("inf")), "finite"),
    "beyond float32": (one_node("elu", {"x": F((-1,))}, F((-1,)), alpha=1e300), "float32"),
    "choice": (one_node("cast", {"x": F((-1,))}, F((-1,)), dtype="float64"), "one of float32, int64, bool"),
    "reads nothing": (with_node(1, inputs=("map",)), "reads 'map' that nothing makes"),
    "cycle": (with_node(0, inputs=("scores", "conv.weight", "conv.bias")), "break the cycle"),
    "reads itself": (with_node(1, inputs=("active",)), "break the cycle"),
    "wrong order": (edited(nodes=(*NODES[1:], NODES[0])), "before it is made"),
    "defined twice": (with_node(1, output="maps"), "'maps' is defined twice"),
    "node shadows input": (with_node(1, output="image"), "'image' is defined twice"),
    "input twice": (edited(inputs=("image", "image")), "'image' is defined twice"),
    "input is constant": (edited(inputs=("image", "fc.bias")), "'fc.bias' is defined twice"),
    "output of nothing": (edited(outputs=("score",)), "'score' is made by nothing"),
    "no output": (edited(outputs=()), "at least one"),
    "no input": (edited(inputs=()), "at least one"),
    "type disagrees": (
        with_type("maps", F((-1, 2, 4, 5))),
        r"conv gives float32 \(N, 2, 4, 4\), but .* \(N, 2, 4, 5\)",
    ),
    "dtype disagrees": (with_type("active", F((-1, 2, 4, 4), "int64")), "int64"),
    "input does not fit": (with_type("image", F((-1, 2, 6, 6))), "must have 1 channels"),
    "type missing": (edited(types=without(TYPES, "maps")), "lacks 'maps'"),
    "type too many": (with_type("ghost", F((1,))), "has 'ghost'"),
    "unknown dtype": (with_type("image", F((-1, 1, 6, 6), "float64")), "dtype of 'image'"),
    "zero size": (with_type("image", F((-1, 0, 6, 6))), "shape of 'image'"),
    "bool size": (with_type("image", F((-1, True, 6, 6))), "shape of 'image'"),
    "huge size": (with_type("image", F((-1, HUGE, 6, 6))), "shape of 'image'"),
    "huge product": (with_type("image", F((-1, 2**20, 2**20, 2))), "absurdly large"),
    "huge rank": (with_type("image", F((1,) * 65)), "at most 16 sizes"),
    "shape is a list": (with_type("image", F([1, 2])), "shape of 'image'"),
    "constant with a batch": (with_type("fc.bias", F((-3,))), "constant 'fc.bias'"),
    "batch from nowhere": (
        one_node("expand", {"x": F((1, 2))}, F((-1, 2)), shape=(-1, 2)),
        "no input brings in",
    ),
    "unused constant": (edited(constants=(*small_net()[0].constants, "c"), types=TYPES | {"c": F(())}), "constant 'c'"),
    "unused node": (
        edited(nodes=(*NODES, Node("relu", ("maps",), "z")), types=TYPES | {"z": TYPES["maps"]}),
        "node 'z'",
    ),
    "names are no tuple": (edited(outputs="scores"), "not str"),
    "nodes are no tuple": (edited(nodes=list(NODES)), "tuple of Node"),
    "types are no mapping": (edited(types=None), "mapping"),
    "attributes are no mapping": (with_node(0, attributes=None), "mapping"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_graph_is_refused_with_its_reason(case: str) -> None:
    graph, message = BROKEN[case]
    with pytest.raises(GraphError, match=message):
        verify(graph)


def test_a_fault_in_a_node_names_the_node() -> None:
    with pytest.raises(GraphError, match=r"node 'maps'"):
        verify(with_node(0, attributes=CONV | {"groups": 3}))


CONSTANTS = {name: ValueType(array.shape) for name, array in small_net()[1].items()}


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        (without(CONSTANTS, "fc.bias"), "'fc.bias', which does not come"),
        (CONSTANTS | {"more": F((1,))}, "'more' comes with the graph but is not in it"),
        (CONSTANTS | {3: F((1,))}, "of type int"),
        (CONSTANTS | {"fc.bias": F((4,))}, r"float32 \(4,\), but the graph says float32 \(3,\)"),
        (CONSTANTS | {"fc.bias": F((3,), "int64")}, "is int64"),
        (CONSTANTS | {"fc.bias": F((HUGE,))}, "shape of 'fc.bias'"),
        (CONSTANTS | {"fc.bias": (3,)}, "must be a ValueType"),
        ([("fc.bias", F((3,)))], "mapping"),
    ],
)
def test_constants_must_be_those_of_the_graph(constants: Any, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        verify(small_net()[0], constants)


def test_something_else_than_a_graph() -> None:
    with pytest.raises(GraphError, match="expected a Graph, not dict"):
        verify({"nodes": []})  # type: ignore[arg-type]


@st.composite
def damaged(draw: st.DrawFn) -> Graph:
    """A sound graph in which one to three spots hold something odd."""
    graph = small_net()[0]
    for _ in range(draw(st.integers(1, 3))):
        odd = draw(st.sampled_from(ODD))
        node = draw(st.integers(0, len(NODES) - 1))
        nodes = list(graph.nodes) if type(graph.nodes) is tuple and len(graph.nodes) == len(NODES) else list(NODES)
        types = dict(graph.types) if isinstance(graph.types, dict) else dict(TYPES)
        spot = draw(st.sampled_from(["field", "node", "attribute", "shape", "type", "name"]))
        if spot == "field":
            field = draw(st.sampled_from(["inputs", "outputs", "constants", "nodes", "types"]))
            graph = replace(graph, **{field: odd})
            continue
        if spot == "node":
            nodes[node] = replace(NODES[node], **{draw(st.sampled_from(["op", "inputs", "output", "attributes"])): odd})
        if spot == "attribute":
            key = draw(st.sampled_from([*NODES[node].attributes, "extra"]))
            nodes[node] = replace(NODES[node], attributes={**NODES[node].attributes, key: odd})
        if spot in ("shape", "type", "name"):
            name = draw(st.sampled_from(sorted(TYPES)))
            types[name] = odd if spot == "type" else ValueType((*TYPES[name].shape[:-1], odd))
            if spot == "name" and isinstance(odd, str | bytes | float | int | None):
                types[odd] = types.pop(name)
        graph = replace(graph, nodes=tuple(nodes), types=types)
    return graph


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(damaged())
def test_only_graph_errors_come_out(graph: Graph) -> None:
    refusal = None
    try:
        verify(graph)
    except GraphError as error:
        refusal = str(error)
    if refusal is None:
        assert all(type(size) is int for value in graph.types.values() for size in value.shape)
    else:
        assert 0 < len(refusal) < 5000


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
@pytest.mark.parametrize("op", ["reshape", "expand"])
def test_odd_shape_attributes(op: str, odd: Any) -> None:
    graph = one_node(op, {"x": F((-1, 2))}, F((-1, 2)), shape=odd)
    with pytest.raises(GraphError):
        verify(graph)


def test_a_long_chain_is_no_deep_recursion() -> None:
    nodes = tuple(Node("relu", (f"v{i}",), f"v{i + 1}") for i in range(5000))
    types = {f"v{i}": F((-1, 2)) for i in range(5001)}
    verify(Graph(("v0",), ("v5000",), (), nodes, types))
