"""A graph as JSON and back, without what its operations already say.

Types of node outputs come from the shape rules of `ops`, names of node outputs from the operation where they are the
usual ones, and the dictionary that compresses the header knows the usual attributes. What is left of a node is its
operation, where its inputs come from, and its attributes. An input is a distance back along the line of graph inputs
and node outputs (1 = the value made last), 0 = the first constant that no node has read yet, -k = constant k - 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, isinf
from typing import Any

from secateur.errors import ArtifactError, GraphError
from secateur.ir.graph import Attribute, Graph, Node, ValueType
from secateur.ir.ops import OPS
from secateur.ir.strict_json import JSON
from secateur.ir.verify import check_type, verify

INFINITIES = {inf: "inf", -inf: "-inf"}


def graph_to_json(graph: Graph, tensors: Mapping[str, ValueType]) -> dict[str, JSON]:
    """The members `inputs`, `nodes`, `outputs`, and `constants` where those are not all tensors in their order."""
    try:
        _verify(graph, tensors)
    except GraphError as error:
        raise ArtifactError(f"this graph cannot be stored, it breaks a rule: {error}") from error
    references = _References(graph.inputs, graph.constants)
    nodes: list[JSON] = []
    for node in graph.nodes:
        row: list[JSON] = [node.op, [references.to_number(name) for name in node.inputs]]
        attributes: dict[str, JSON] = {name: _plain(value) for name, value in node.attributes.items()}
        usual = node.output == references.usual_name(node.op)
        if attributes or not usual:
            row.append(attributes)
        if not usual:
            row.append(node.output)
        references.made(node.output)
        nodes.append(row)
    found: dict[str, JSON] = {
        "inputs": [_input_row(name, graph.types[name]) for name in graph.inputs],
        "nodes": nodes,
        "outputs": [references.to_number(name) for name in graph.outputs],
    }
    if graph.constants != tuple(tensors):
        order = {name: index for index, name in enumerate(tensors)}
        found["constants"] = [order[name] for name in graph.constants]
    return found


def graph_from_json(data: Mapping[str, Any], tensors: Mapping[str, ValueType]) -> Graph:
    """The verified graph. ArtifactError, with the GraphError as its cause, for members that describe none."""
    names = tuple(tensors)
    indices = as_list(data.get("constants", list(range(len(names)))), "constants")
    constants = tuple(names[as_index(index, len(names), "constants")] for index in indices)
    inputs = tuple(_input_of(row) for row in as_list(data.get("inputs"), "inputs"))
    references = _References(tuple(name for name, _ in inputs), constants)
    types = {**dict(inputs), **{name: tensors[name] for name in constants}}
    nodes = []
    try:
        for name, kind in types.items():
            check_type(name, kind)
        for row in as_list(data.get("nodes"), "nodes"):
            node = _node_of(as_list(row, "a node"), references)
            types[node.output] = OPS[node.op].shape([types[name] for name in node.inputs], node.attributes)
            check_type(node.output, types[node.output])
            references.made(node.output)
            nodes.append(node)
        outputs = tuple(references.to_name(number) for number in as_list(data.get("outputs"), "outputs"))
        graph = Graph(tuple(name for name, _ in inputs), outputs, constants, tuple(nodes), types)
        _verify(graph, tensors)
    except GraphError as error:
        raise ArtifactError(f"damaged artifact: its graph breaks a rule: {error}") from error
    return graph


class _References:
    """The values a node can read, and the numbers that stand for them."""

    def __init__(self, inputs: tuple[str, ...], constants: tuple[str, ...]) -> None:
        self.line = list(inputs)
        self.places = {name: place for place, name in enumerate(inputs)}
        self.constants = constants
        self.numbers = {name: index for index, name in enumerate(constants)}
        self.counts: dict[str, int] = {}
        self.unread = 0

    def made(self, name: str) -> None:
        self.places[name] = len(self.line)
        self.line.append(name)

    def usual_name(self, op: str) -> str:
        """The name of the next output of `op`: op, then op_2, op_3, ..."""
        count = self.counts.get(op, 1)
        while (name := op if count == 1 else f"{op}_{count}") in self.places or name in self.numbers:
            count += 1
        self.counts[op] = count  # names are never given back, so the search goes on from here
        return name

    def to_number(self, name: str) -> int:
        if name in self.places:
            return len(self.line) - self.places[name]
        index = self.numbers[name]
        return 0 if self._read(index) else -index - 1

    def to_name(self, number: object) -> str:
        if type(number) is not int or not -len(self.constants) <= number <= len(self.line):
            raise ArtifactError("damaged artifact: a node reads a value that does not exist")
        if number > 0:
            return self.line[-number]
        index = self.unread if number == 0 else -number - 1
        if index == len(self.constants):
            raise ArtifactError("damaged artifact: a node reads one constant more than there are")
        self._read(index)
        return self.constants[index]

    def _read(self, index: int) -> bool:
        """Whether this constant is the first that nobody has read; it then is no more."""
        first = index == self.unread
        self.unread += first
        return first


def as_list(value: object, what: str) -> list[Any]:
    if type(value) is not list:
        raise ArtifactError(f"damaged artifact: {what} of the header should be a list")
    return value


def as_index(value: object, end: int, what: str) -> int:
    if type(value) is not int or not 0 <= value < end:
        raise ArtifactError(f"damaged artifact: {what} of the header refer to number {value!r:.20} of {end}")
    return value


def as_text(value: object, what: str) -> str:
    if type(value) is not str:
        raise ArtifactError(f"damaged artifact: {what} of the header should be text")
    return value


def _input_row(name: str, kind: ValueType) -> list[JSON]:
    return [name, list(kind.shape), *([] if kind.dtype == "float32" else [kind.dtype])]


def _input_of(row: object) -> tuple[str, ValueType]:
    match as_list(row, "an input"):
        case [str() as name, list() as shape]:
            return name, ValueType(tuple(shape))
        case [str() as name, list() as shape, str() as dtype]:
            return name, ValueType(tuple(shape), dtype)
    raise ArtifactError("damaged artifact: an input of the header should be a name, a shape and perhaps a dtype")


def _node_of(row: list[Any], references: _References) -> Node:
    if not 2 <= len(row) <= 4:
        raise ArtifactError("damaged artifact: a node of the header should have two to four members")
    op = as_text(row[0], "a node")
    if op not in OPS:
        raise ArtifactError(f"this artifact needs an operation {op[:40]!r} that is not known here: update secateur")
    inputs = tuple(references.to_name(number) for number in as_list(row[1], "a node's inputs"))
    attributes = row[2] if len(row) > 2 else {}
    if type(attributes) is not dict:
        raise ArtifactError("damaged artifact: attributes of a node should be an object")
    output = as_text(row[3], "a node's output") if len(row) > 3 else references.usual_name(op)
    return Node(op, inputs, output, {name: _attribute(op, name, value) for name, value in attributes.items()})


def _verify(graph: Graph, tensors: Mapping[str, ValueType]) -> None:
    """An artifact may hold tensors that its graph does not read; the graph may read no others."""
    read = frozenset(graph.constants)
    verify(graph, {name: kind for name, kind in tensors.items() if name in read})


def _plain(value: Attribute) -> JSON:
    if isinstance(value, tuple):
        return list(value)
    return INFINITIES[value] if isinstance(value, float) and isinf(value) else value


def _attribute(op: str, name: str, value: Any) -> Attribute:
    if type(value) is list:
        return tuple(value)
    if OPS[op].attributes.get(name) == "float" and type(value) is str:
        return next((number for number, text in INFINITIES.items() if text == value), value)
    return value
