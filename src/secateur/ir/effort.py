"""What running a graph would take, estimated before anything is computed: a small file can ask for terabytes or years.

Every operation says in its row of `ops.OPS` what memory it needs beside its inputs and its output, and how many steps
it takes; both are upper bounds or rough, never measured, so that the answer is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from secateur.errors import DataError
from secateur.ir.graph import Graph, ValueType
from secateur.ir.ops import OPS
from secateur.ir.ops.op import CALL_STEPS, bound_attributes

MAX_RUN_BYTES = 4 * 2**30
MAX_RUN_SECONDS = 3600.0
STEPS_A_SECOND = 200_000_000  # elementary operations of numpy on arrays, one thread
MACS_A_SECOND = 5_000_000_000  # in products of small matrices, one thread; large ones are ten times faster
ITEM_BYTES = {"float32": 4, "int64": 8, "bool": 1}
INTEGER_BYTES = 2  # of a float32's four: integers and the floats they are multiplied in may have eight
CONVERSION_BYTES = 24  # of an element that goes into a step in integers or comes out: copies in float64 and int64
CONVERSION_STEPS = 8


def effort_of(graph: Graph, batch: int, *, integers: bool = False) -> tuple[int, float]:
    """What running a verified graph takes: most bytes at once, and by a rough estimate the seconds.

    Counted are the constants, dense, the values that are alive at the same time, and what an operation needs for
    itself; not the inputs, which are the caller's.

    integers  run by `integer.run`: integers have up to 8 bytes, float64 does what float32 did, and whatever goes into
              a step or comes out of one is converted, and may be multiplied and shifted in int64
    """
    bound = {name: ValueType(kind.bind(batch), kind.dtype) for name, kind in graph.types.items()}
    wide = INTEGER_BYTES if integers else 1
    sizes = {name: ITEM_BYTES[kind.dtype] * wide * prod(kind.shape) for name, kind in bound.items()}
    constants = sum(sizes[name] for name in graph.constants)
    live, seconds = 0, 0.0
    peak = constants
    for node, dying in zip(graph.nodes, last_reads(graph), strict=True):
        attributes, inputs = bound_attributes(OPS[node.op], node.attributes, batch), [bound[n] for n in node.inputs]
        effort = OPS[node.op].effort(bound[node.output], *inputs, **attributes)
        live += sizes[node.output]
        scratch, steps = effort
        if integers:
            converted = prod(bound[node.output].shape) + sum(prod(kind.shape) for kind in inputs)
            scratch, steps = (
                INTEGER_BYTES * scratch + CONVERSION_BYTES * converted,
                steps + CONVERSION_STEPS * converted,
            )
        peak = max(peak, constants + live + scratch)
        seconds += (steps + CALL_STEPS) / STEPS_A_SECOND + OPS[node.op].macs(inputs, attributes) / MACS_A_SECOND
        live -= sum(sizes[name] for name in dying if name not in graph.inputs and name not in graph.constants)
    return max(peak, constants + live + sum(sizes[name] for name in graph.outputs)), seconds  # results are copied


def check_effort(graph: Graph, batch: int, *, max_bytes: int, max_seconds: float, integers: bool = False) -> None:
    """DataError where running a verified graph would take more memory, or by a rough estimate more time."""
    peak, seconds = effort_of(graph, batch, integers=integers)
    if peak > max_bytes:
        raise DataError(
            f"running this graph would take {peak:,} bytes for a batch of {batch}, {max_bytes:,} are allowed: "
            "run smaller batches, or allow more with max_bytes"
        )
    if seconds > max_seconds:
        raise DataError(
            f"running this graph would take about {seconds:,.0f} s for a batch of {batch}, {max_seconds:,.0f} are "
            "allowed: run smaller batches, or allow more with max_seconds"
        )


def fixed_batch(graph: Graph) -> int | None:
    """The size of dimension 0 that a graph's first input must have; None where any batch size will do."""
    sizes = [graph.types[name].shape[:1] for name in graph.inputs]
    return sizes[0][0] if sizes and all(size and size[0] >= 0 for size in sizes) else None


def runnable_batch(
    graph: Graph, most: int, *, max_bytes: int = MAX_RUN_BYTES, max_seconds: float = MAX_RUN_SECONDS
) -> int:
    """How many examples to run at once: as many as a graph is fixed at, else the largest of most, most / 2, ... within
    the limits; at least 1."""
    if (fixed := fixed_batch(graph)) is not None:
        return fixed
    batch = most
    while batch > 1:
        needed_bytes, seconds = effort_of(graph, batch)
        if needed_bytes <= max_bytes and seconds <= max_seconds:
            break
        batch //= 2
    return batch


def last_reads(graph: Graph) -> list[list[str]]:
    """For each node, the values that nothing needs once it has run."""
    last = {name: position for position, node in enumerate(graph.nodes) for name in (*node.inputs, node.output)}
    kept = set(graph.outputs)
    dying: list[list[str]] = [[] for _ in graph.nodes]
    for name, position in last.items():
        if name not in kept:
            dying[position].append(name)
    return dying


def constant_bytes(types: Mapping[str, ValueType], names: tuple[str, ...]) -> int:
    """Bytes of constants once they are dense."""
    return sum(ITEM_BYTES[types[name].dtype] * prod(types[name].shape) for name in names)
