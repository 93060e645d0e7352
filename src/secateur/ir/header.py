"""The header of an artifact: everything but the numbers, as JSON.

Members: `tensors` ([name, shape] or [name, shape, [axis, group, repeat, ...]]), the graph's members unless there is
none, and where not empty `groups` (how many), `folds`, `meta`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, prod
from typing import Any

from secateur.errors import ArtifactError
from secateur.ir.formats import GRAPH_DTYPE, Stored
from secateur.ir.graph import Graph, ValueType
from secateur.ir.graph_json import as_index, as_list, as_text, graph_from_json, graph_to_json
from secateur.ir.ops.sizes import MAX_ELEMENTS, MAX_RANK
from secateur.ir.records import Fold, UnitAxes
from secateur.ir.strict_json import JSON, from_json, to_json

MEMBERS = {"tensors", "inputs", "nodes", "outputs", "constants", "groups", "folds", "meta"}
MOST_GROUPS = 100_000


@dataclass(frozen=True)
class Header:
    """What a header says before any tensor is decoded. `shapes` keep the order of the records that follow."""

    shapes: Mapping[str, tuple[int, ...]]
    axes: UnitAxes
    groups: int
    folds: tuple[Fold, ...]
    meta: Mapping[str, JSON]
    members: Mapping[str, Any]

    def graph(self, tensors: Mapping[str, Stored]) -> Graph | None:
        """The graph, once the dtypes of the tensors are known; None in a weights-only artifact."""
        return graph_from_json(self.members, types_of(tensors)) if "nodes" in self.members else None


def types_of(tensors: Mapping[str, Stored]) -> dict[str, ValueType]:
    """What the graph sees of stored tensors."""
    return {name: ValueType(tensor.shape, GRAPH_DTYPE[tensor.dtype]) for name, tensor in tensors.items()}


def header_bytes(
    graph: Graph | None,
    tensors: Mapping[str, Stored],
    axes: UnitAxes,
    groups: int,
    folds: tuple[Fold, ...],
    meta: Mapping[str, JSON],
) -> bytes:
    """The header of an artifact of these parts; ArtifactError where one of them cannot be stored."""
    rows: list[JSON] = []
    for name, tensor in tensors.items():
        cut = [number for axis, entry in sorted(axes.get(name, {}).items()) for number in (axis, *entry)]
        rows.append([name, list(tensor.shape), *([list[JSON](cut)] if cut else [])])
    header: dict[str, JSON] = {"tensors": rows}
    if graph is not None:
        header |= graph_to_json(graph, types_of(tensors))
    if groups:
        header["groups"] = groups
    if folds:
        header["folds"] = [[fold.norm, fold.into, fold.eps] for fold in folds]
    if meta:
        header["meta"] = dict(meta)
    return to_json(header, "the header or meta of this artifact")


def read_header(data: bytes) -> Header:
    """ArtifactError for bytes that are no header, or announce tensors beyond what a graph may hold."""
    members = from_json(data, "its header")
    if not isinstance(members, dict) or not members.keys() <= MEMBERS:
        raise ArtifactError("damaged artifact: its header is no object, or has members that are not known")
    shapes: dict[str, tuple[int, ...]] = {}
    axes: dict[str, dict[int, tuple[int, int]]] = {}
    for row in as_list(members.get("tensors"), "tensors"):
        name, shape, cut = [*as_list(row, "a tensor"), None, None, None][:3]
        if as_text(name, "a tensor's name") in shapes or len(row) > 3:
            raise ArtifactError("damaged artifact: a tensor stands twice in the header, or has too many members")
        shapes[name] = _shape(as_list(shape, "the shape of a tensor"))
        if cut is not None:
            axes[name] = _axes(as_list(cut, "the axes of a tensor"))
    meta = members.get("meta", {})
    if not isinstance(meta, dict):
        raise ArtifactError("damaged artifact: meta of the header should be an object")
    folds = tuple(_fold(as_list(row, "a fold")) for row in as_list(members.get("folds", []), "folds"))
    groups = as_index(members.get("groups", 0), MOST_GROUPS, "groups")
    return Header(shapes, axes, groups, folds, meta, members)


def _shape(sizes: list[Any]) -> tuple[int, ...]:
    shape = tuple(as_index(size, MAX_ELEMENTS + 1, "shapes") for size in sizes)
    if len(shape) > MAX_RANK or prod(shape) > MAX_ELEMENTS:
        raise ArtifactError("damaged artifact: a tensor of the header is absurdly large")
    return shape


def _axes(flat: list[Any]) -> dict[int, tuple[int, int]]:
    numbers = [as_index(number, MAX_ELEMENTS, "axes") for number in flat]
    triples = list(zip(numbers[::3], numbers[1::3], numbers[2::3], strict=False))
    found = {axis: (group, repeat) for axis, group, repeat in triples}
    if not numbers or len(numbers) % 3 or len(found) != len(triples):
        raise ArtifactError("damaged artifact: the axes of a tensor are no list of axis, group, repeat")
    return found


def _fold(row: list[Any]) -> Fold:
    match row:
        case [str() as norm, str() as into, float() as eps] if isfinite(eps):
            return Fold(norm, into, eps)
    raise ArtifactError("damaged artifact: a fold should be two modules and a number")
