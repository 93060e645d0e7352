"""What an artifact holds, tensor by tensor, and what differs between two: plain data for tables and reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from secateur.ir.artifact import Artifact
from secateur.ir.bit_count import count_bits
from secateur.ir.coding.tensors import TensorBytes
from secateur.ir.count import count
from secateur.ir.formats import Stored
from secateur.ir.graph import Graph, Node
from secateur.ir.ops.sizes import show
from secateur.ir.pattern_search import found_pattern
from secateur.ir.records import restore_units

FLOAT32_BYTES = 4
ABSENT = "-"


@dataclass(frozen=True)
class PatternRow:
    """The pattern of a tensor as stored, "4:16" (`pattern_search`). counts[c]: groups with c weights that are not zero;
    mean and most: weights of a group; idle: the share of lane time that is idle while one lane works on the fullest."""

    pattern: str
    counts: tuple[int, ...]
    mean: float
    most: int
    idle: float


@dataclass(frozen=True)
class TensorRow:
    """One tensor of an artifact.

    shape           as stored; original_shape: before units were removed
    dtype           of the stored values; "int2" to "int8" for codes of so many bits
    nonzeros        elements != 0; density: their share of the original elements, 0.0 where there are none
    file            bytes in the file, by stream, and the codes chosen
    float32_bytes   of the original shape, dense, as float32
    pattern         n of every m inputs, or None
    """

    name: str
    shape: tuple[int, ...]
    original_shape: tuple[int, ...]
    dtype: str
    nonzeros: int
    density: float
    file: TensorBytes
    float32_bytes: int
    pattern: PatternRow | None = None


@dataclass(frozen=True)
class TensorChange:
    """A tensor that two artifacts hold differently; None stands where one of them does not hold it.

    largest  the largest |difference| of two values at one place of the original shape, infinite where one of them is
             not a number; None where the original shapes differ
    """

    name: str
    before: TensorRow | None
    after: TensorRow | None
    largest: float | None


@dataclass(frozen=True)
class FactChange:
    """Something else that differs, in words: graph, operations, inputs, folds, removed units, an entry of meta."""

    what: str
    before: str
    after: str


@dataclass(frozen=True)
class Difference:
    """What changed from one artifact to another; equal artifacts have neither tensors nor facts."""

    tensors: tuple[TensorChange, ...]
    facts: tuple[FactChange, ...]
    file_bytes_before: int
    file_bytes_after: int


def describe(artifact: Artifact) -> tuple[TensorRow, ...]:
    """One row a tensor, in the artifact's order. Bytes that belong to no tensor are in `artifact.bytes_by_stream()`."""
    coded = artifact.bytes_by_stream().tensors
    nodes = artifact.graph.nodes if artifact.graph else ()
    turned = {node.inputs[1] for node in nodes if node.op == "conv_transpose"}
    return tuple(_row(artifact, name, coded[name], int(name not in turned)) for name in artifact.tensors)


def difference(before: Artifact, after: Artifact) -> Difference:
    """What differs from `before` to `after`: tensors by name, then everything else."""
    rows = [{row.name: row for row in describe(artifact)} for artifact in (before, after)]
    changes = []
    for name in dict.fromkeys([*before.tensors, *after.tensors]):
        old, new = rows[0].get(name), rows[1].get(name)
        largest = None
        if old and new:
            if before.tensors[name] == after.tensors[name] and old.original_shape == new.original_shape:
                continue
            if old.original_shape == new.original_shape:
                largest = _largest_difference(_restored(before, name), _restored(after, name))
        changes.append(TensorChange(name, old, new, largest))
    sizes = [artifact.bytes_by_stream().total for artifact in (before, after)]
    return Difference(tuple(changes), tuple(_fact_changes(before, after)), *sizes)


def _row(artifact: Artifact, name: str, coded: TensorBytes, input_axis: int) -> TensorRow:
    tensor, original = artifact.tensors[name], artifact.original_shape(name)
    nonzeros, size, found = tensor.nonzeros, prod(original), _pattern(tensor, input_axis)
    density = nonzeros / size if size else 0.0
    return TensorRow(name, tensor.shape, original, tensor.dtype, nonzeros, density, coded, FLOAT32_BYTES * size, found)


def _pattern(tensor: Stored, input_axis: int) -> PatternRow | None:
    if len(tensor.shape) < 2 or not 0 < tensor.nonzeros < tensor.size:
        return None
    found = found_pattern(tensor.to_dense(), input_axis)
    return found and PatternRow(str(found.pattern), found.counts, found.mean, found.most, found.idle)


def _restored(artifact: Artifact, name: str) -> np.ndarray:
    dense = {name: artifact.tensors[name].to_dense()}
    return restore_units(dense, artifact.units, artifact.axes)[name]


def _largest_difference(old: np.ndarray, new: np.ndarray) -> float:
    if not old.size:
        return 0.0
    with np.errstate(invalid="ignore"):
        distance = np.abs(old.astype(np.float64) - new.astype(np.float64))
    alike = (old == new) | (np.isnan(old) & np.isnan(new)) if old.dtype.kind == "f" else old == new
    return float(np.where(alike, 0.0, np.where(np.isnan(distance), np.inf, distance)).max())


def _fact_changes(before: Artifact, after: Artifact) -> Iterator[FactChange]:
    old, new = _facts(before), _facts(after)
    for what in dict.fromkeys([*old, *new]):
        if old.get(what) != new.get(what):
            yield FactChange(what, old.get(what, ABSENT), new.get(what, ABSENT))
    if before.graph and after.graph and before.graph != after.graph:
        yield from _node_changes(before.graph, after.graph)


def _facts(artifact: Artifact) -> dict[str, str]:
    """Everything but numbers and nodes, in words."""
    facts = {"graph": "runs" if artifact.graph else "weights only"}
    removed = sum(int(np.count_nonzero(~group.kept)) for group in artifact.units)
    facts["units removed"] = str(removed)
    facts["folds"] = ", ".join(f"{fold.norm} into {fold.into}" for fold in artifact.folds) or ABSENT
    facts |= {f"meta {key}": str(value) for key, value in artifact.meta.items()}
    if artifact.graph:
        bits = count_bits(artifact.graph, artifact.tensors, count(artifact.graph, artifact.constants))
        facts["bit operations"] = str(bits.bit_operations)
        facts["bit operations of products of maps"] = str(bits.map_bit_operations)
        facts["largest map"] = f"{bits.largest_map.bytes} bytes" if bits.largest_map else ABSENT
        counts = Counter(node.op for node in artifact.graph.nodes)
        facts |= {f"operations {op}": str(count) for op, count in counts.items()}
        for role, names in (("inputs", artifact.graph.inputs), ("outputs", artifact.graph.outputs)):
            facts[role] = ", ".join(_value(artifact.graph, name) for name in names)
    return facts


def _value(graph: Graph, name: str) -> str:
    return f"{name} {graph.types[name].dtype} {show(graph.types[name].shape)}"


def _node_changes(before: Graph, after: Graph) -> Iterator[FactChange]:
    """Nodes, by the name of their output, that came, went, or have other inputs, attributes or another operation."""
    old, new = before.producers(), after.producers()
    for name in dict.fromkeys([*old, *new]):
        if old.get(name) != new.get(name):
            yield FactChange(f"node {name}", _node(old.get(name)), _node(new.get(name)))


def _node(node: Node | None) -> str:
    if node is None:
        return ABSENT
    arguments = [*node.inputs, *(f"{name}={value}" for name, value in sorted(node.attributes.items()))]
    return f"{node.op}({', '.join(arguments)})"
