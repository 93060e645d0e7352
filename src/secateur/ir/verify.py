"""Is this a graph? The door for files from strangers: everything is checked by type and size before it is used.

A graph that passes can be interpreted, counted and compiled without further checks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from math import prod

from secateur.errors import GraphError
from secateur.ir.graph import DTYPES, Graph, Node, ValueType
from secateur.ir.naming import MAX_NAME
from secateur.ir.ops import OPS
from secateur.ir.ops.sizes import MAX_ELEMENTS, MAX_RANK, show


def verify(graph: Graph, constants: Mapping[str, ValueType] | None = None) -> None:
    """GraphError, saying what is wrong and where, unless the graph keeps every rule of the representation.

    constants  types of the tensors that come with the graph; compared with what the graph says of them.

    The rules: every name is defined once and before it is read; every op is a row of OPS with fitting inputs and
    attributes; every value's type is what its op's shape rule gives; every result, constant and type is used; sizes
    are k or -k (k times the batch), 0 < k, at most 2**40 elements a value; only inputs bring in the batch size.
    Nothing but GraphError is raised, whatever the fields hold, and time grows with the size of the graph only.
    """
    _check_fields(graph)
    _check_definitions(graph)
    _check_types(graph)
    for node in graph.nodes:
        _check_node(node, graph.types)
    _check_use(graph)
    if constants is not None:
        _check_constants(graph, constants)


def _check_fields(graph: Graph) -> None:
    """Types of all fields, so that later checks may hash, compare and print them."""
    if not isinstance(graph, Graph):
        raise GraphError(f"expected a Graph, not {type(graph).__name__}")
    for field in ("inputs", "outputs", "constants"):
        _check_names(getattr(graph, field), f"graph.{field}")
    if type(graph.nodes) is not tuple or not all(isinstance(node, Node) for node in graph.nodes):
        raise GraphError("graph.nodes must be a tuple of Node")
    for position, node in enumerate(graph.nodes):
        _check_names((node.op, node.output), f"op and output of node {position}")
        _check_names(node.inputs, f"inputs of node {position}")
        if not isinstance(node.attributes, Mapping):
            raise GraphError(f"attributes of node {node.output!r} must be a mapping")
    if not isinstance(graph.types, Mapping):
        raise GraphError("graph.types must be a mapping from name to ValueType")
    _check_names(tuple(graph.types), "graph.types")
    if not graph.inputs or not graph.outputs:
        raise GraphError("a graph needs at least one input and one output")


def _check_names(names: object, where: str) -> None:
    if type(names) is not tuple:
        raise GraphError(f"{where}: expected a tuple of names, not {type(names).__name__}")
    for name in names:
        if type(name) is not str or not 0 < len(name) <= MAX_NAME:
            raise GraphError(
                f"{where}: a name is a string of 1 to {MAX_NAME} characters, not "
                + (f"of {len(name):,}" if isinstance(name, str) else type(name).__name__)
            )


def _check_definitions(graph: Graph) -> None:
    """Every name is made once, and read only after it was made."""
    defined: set[str] = set()
    for name in (*graph.inputs, *graph.constants):
        _define(name, defined)
    later = {node.output for node in graph.nodes}
    for node in graph.nodes:
        for name in node.inputs:
            if name not in defined:
                problem = (
                    "before it is made: order the nodes, break the cycle" if name in later else "that nothing makes"
                )
                raise GraphError(f"node {node.output!r} ({node.op}) reads {name!r} {problem}")
        _define(node.output, defined)
    for name in graph.outputs:
        if name not in defined:
            raise GraphError(f"output {name!r} is made by nothing")


def _define(name: str, defined: set[str]) -> None:
    if name in defined:
        raise GraphError(f"{name!r} is defined twice; every value needs a name of its own")
    defined.add(name)


def _check_types(graph: Graph) -> None:
    made = {*graph.inputs, *graph.constants, *(node.output for node in graph.nodes)}
    for name in made:
        if name not in graph.types:
            raise GraphError(f"graph.types lacks {name!r}")
    for name, value in graph.types.items():
        if name not in made:
            raise GraphError(f"graph.types has {name!r}, which is no input, constant or node output")
        check_type(name, value)
    for name in graph.constants:
        if _has_batch(graph.types[name]):
            raise GraphError(f"constant {name!r} has a size that depends on the batch: {show(graph.types[name].shape)}")
    if not any(_has_batch(graph.types[name]) for name in graph.inputs):
        for name, value in graph.types.items():
            if _has_batch(value):
                raise GraphError(f"{name!r} {show(value.shape)} depends on a batch size that no input brings in")


def check_type(name: str, value: object) -> None:
    """GraphError unless `value` is the type of a value a graph can hold: sane before any shape rule sees it."""
    if not isinstance(value, ValueType):
        raise GraphError(f"the type of {name!r} must be a ValueType, not {type(value).__name__}")
    if type(value.dtype) is not str or value.dtype not in DTYPES:
        raise GraphError(f"the dtype of {name!r} must be one of {', '.join(DTYPES)}")
    shape = value.shape
    if type(shape) is not tuple or len(shape) > MAX_RANK:
        raise GraphError(f"the shape of {name!r} must be a tuple of at most {MAX_RANK} sizes")
    for size in shape:
        # Compared before it is printed: Python refuses to print an integer of many thousand digits.
        if type(size) is not int or size == 0 or abs(size) > MAX_ELEMENTS:
            raise GraphError(f"the shape of {name!r} must hold ints k or -k (k times the batch), k from 1 to 2**40")
    if prod(abs(size) for size in shape) > MAX_ELEMENTS:
        raise GraphError(f"{name!r} {show(shape)} is absurdly large: more than 2**40 elements")


def _has_batch(value: ValueType) -> bool:
    return any(size < 0 for size in value.shape)


def _check_node(node: Node, types: Mapping[str, ValueType]) -> None:
    where = f"node {node.output!r}"
    if node.op not in OPS:
        near = get_close_matches(node.op[:64], OPS, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"the closed list: {', '.join(OPS)}"
        raise GraphError(f"{where}: unknown op {node.op[:64]!r}; {hint}")
    try:
        result = OPS[node.op].shape([types[name] for name in node.inputs], node.attributes)
    except GraphError as error:
        raise GraphError(f"{where}: {error}") from None
    declared = types[node.output]
    if result != declared:
        raise GraphError(
            f"{where}: {node.op} gives {result.dtype} {show(result.shape)}, "
            f"but graph.types says {declared.dtype} {show(declared.shape)}"
        )


def _check_use(graph: Graph) -> None:
    used = {*graph.outputs, *(name for node in graph.nodes for name in node.inputs)}
    _need_used("constant", graph.constants, used)
    _need_used("node", (node.output for node in graph.nodes), used)


def _need_used(what: str, names: Iterable[str], used: set[str]) -> None:
    for name in names:
        if name not in used:
            raise GraphError(f"{what} {name!r} is never used; remove it from the graph")


def _check_constants(graph: Graph, constants: Mapping[str, ValueType]) -> None:
    if not isinstance(constants, Mapping):
        raise GraphError(f"constants must be a mapping from name to ValueType, not {type(constants).__name__}")
    for name in graph.constants:
        if name not in constants:
            raise GraphError(f"the graph reads constant {name!r}, which does not come with it")
        given, declared = constants[name], graph.types[name]
        check_type(name, given)
        if given != declared:
            raise GraphError(
                f"constant {name!r} is {given.dtype} {show(given.shape)}, "
                f"but the graph says {declared.dtype} {show(declared.shape)}"
            )
    for name in constants:
        if name not in graph.types:
            shown = repr(name[:64]) if type(name) is str else f"of type {type(name).__name__}"
            raise GraphError(f"constant {shown} comes with the graph but is not in it")
