"""Sort units: the neurons of a layer have no order, so a file may keep them in the one that is cheapest to code.

Permuting the rows that make a layer's units together with the columns that read them changes nothing but the order in
which sums are taken. n units have n! orders, and a file that fixes one saves log2(n!) bits: 300 neurons sorted by bias
take 250 bytes less, as sorted numbers are coded by their differences; and as the units that stay come first, the mask
of those removed is one number. Sets cost so much less than lists: L. R. Varshney, V. K. Goyal, "Toward a source coding
theory for sets", Data Compression Conference 2006.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from secateur.ir.dead_units import Removal
from secateur.ir.graph import Graph, Node
from secateur.ir.records import UnitGroup
from secateur.ir.units.layout import Layer, UnitFlow, Units
from secateur.ir.units.rules import trace_units

if TYPE_CHECKING:
    from jaxtyping import Int64

Axis = tuple[str, int]
Tiling = tuple[int, int]
"""repeat, tiles: units stand on an axis `repeat` times in a row each, and all that `tiles` times."""

HOMOGENEOUS = (
    *("relu", "leaky_relu", "reshape", "permute", "mean", "sum"),
    *("max_pool", "average_pool", "adaptive_max_pool", "adaptive_average_pool"),
)
"""f(a x) = a f(x) for every a > 0, unit by unit."""

LARGEST_RESCALED = 2.0**15
"""Units with larger numbers keep their scale: times 1.42 they could leave the range of float16, or of float32."""


@dataclass(frozen=True)
class Sorted:
    """What `sort_units` made of the tensors and unit groups of a network.

    orders    (tensor, axis) -> which positions now stand there, wherever that changed
    unscaled  layers whose units could have been rescaled, had not something of theirs been fixed
    """

    tensors: dict[str, np.ndarray]
    groups: tuple[UnitGroup, ...]
    orders: dict[Axis, Int64[np.ndarray, " positions"]] = field(default_factory=dict)
    unscaled: tuple[str, ...] = ()


def sort_units(
    graph: Graph,
    constants: Mapping[str, np.ndarray],
    removed: tuple[Graph, Mapping[str, np.ndarray], Removal],
    *,
    rescale: bool = False,
    fixed: Container[str] = (),
) -> Sorted:
    """What `remove_dead_units(graph, constants)` gave, `removed`, with the units of every layer in ascending order of
    bias, then of non-zero weights: its tensors, and its unit groups, whose kept units come first.

    Units that cannot change places stay where they are: those that something unknown looks at, and those whose outputs
    are cut up or joined with others, where the place of a unit says who reads it.

    rescale  before its layer is sorted, a unit that nothing but ReLU, pooling and reshaping stands behind is multiplied
             by the number between 0.7 and 1.4 that makes the first of its weights a power of two, and whoever reads it
             divides by that: the same function, with a mantissa less a unit
    fixed    tensors that may not be multiplied, because their numbers lie on a grid: what they belong to keeps its
             scale
    """
    smaller, tensors, removal = removed
    flow = trace_units(graph, constants)
    roots, done = flow.roots(), set(flow.pinned())
    made = {node.output: node.inputs[1:] for node in smaller.nodes}
    homes = _Homes({axis: roots[units] for axis, units in _axes(flow, made).items()})
    makers = _makers(flow, roots)
    found, groups = dict(tensors), list(removal.groups)
    orders, unscaled = dict[Axis, np.ndarray](), list[str]()
    for layer in flow.layers:
        order, parameters = roots[layer.rows], made[layer.node.output]
        if not done.isdisjoint(order.tolist()) or len(set(order.tolist())) < len(order):
            continue
        done.update(order.tolist())
        places = _places(order, homes.of(order))
        if places is None:
            continue
        if rescale and _is_homogeneous(layer, order, makers):
            if any(name in fixed for name, _ in places if name in found):
                unscaled.append(layer.name)
            else:
                _rescale(found, parameters, places)
        rows = np.moveaxis(found[parameters[0]], layer.row_axis, 0)
        nonzeros = np.count_nonzero(rows.reshape(len(rows), -1), axis=1)
        moved = np.lexsort((nonzeros, *(found[bias] for bias in parameters[1:])))
        for (name, axis), (repeat, tiles) in places.items():
            if name in found:
                orders[name, axis] = _spread(moved, repeat, tiles)
                found[name] = np.take(found[name], orders[name, axis], axis=axis)
            if (entry := removal.axes.get(name, {}).get(axis)) is not None:
                groups[entry[0]] = _kept_first(groups[entry[0]], tiles)
    return Sorted(found, tuple(groups), orders, tuple(unscaled))


class _Homes:
    """On which axes a unit lies, so that a layer need not look at those of all others."""

    def __init__(self, axes: Mapping[Axis, Units]) -> None:
        self._axes = list(axes.items())
        self._of: dict[int, list[int]] = {}
        for number, (_, units) in enumerate(self._axes):
            for unit in dict.fromkeys(units.tolist()):
                self._of.setdefault(unit, []).append(number)

    def of(self, order: Units) -> dict[Axis, Units]:
        """Every axis with one of these units on it, and the units there."""
        numbers = sorted({number for unit in order.tolist() for number in self._of.get(unit, ())})
        return dict(self._axes[number] for number in numbers)


def _makers(flow: UnitFlow, roots: Units) -> dict[int, list[Node]]:
    """Unit -> the nodes whose results it lies on."""
    makers: dict[int, list[Node]] = {}
    for node in flow.graph.nodes:
        if (layout := flow.layouts.get(node.output)) is not None:
            for unit in dict.fromkeys(roots[layout.units].tolist()):
                makers.setdefault(unit, []).append(node)
    return makers


def _is_homogeneous(layer: Layer, order: Units, makers: Mapping[int, list[Node]]) -> bool:
    """Whether all that is made of a layer's outputs until others read them scales as they do."""
    made = (node for unit in order.tolist() for node in makers.get(unit, ()))
    return (
        not layer.depthwise
        and layer.row_axis == 0
        and all(node is layer.node or node.op in HOMOGENEOUS for node in made)
    )


def _rescale(found: dict[str, np.ndarray], parameters: Sequence[str], places: Mapping[Axis, Tiling]) -> None:
    """Multiply rows and bias of each unit, and divide the columns that read it."""
    weight = parameters[0]
    flat = found[weight].reshape(len(found[weight]), -1).astype(np.float64)
    units, first = np.arange(len(flat)), np.argmax(flat != 0, axis=1)
    leading = flat[units, first]
    powers = np.exp2(np.round(np.log2(np.abs(np.where(leading == 0, 1, leading)))))
    scaled = (leading != 0) & (_magnitudes(found, places, len(flat)) <= LARGEST_RESCALED)
    factors = np.where(scaled, powers / np.abs(np.where(leading == 0, 1, leading)), 1.0)
    flat *= factors[:, None]
    flat[units, first] = np.where(scaled, np.sign(leading) * powers, leading)
    for name, axis in places:
        if name == weight:
            found[name] = flat.reshape(found[name].shape).astype(np.float32)
        elif name in parameters:
            found[name] = (found[name] * factors).astype(np.float32)
        elif name in found:
            repeat, tiles = places[name, axis]
            along = np.tile(np.repeat(factors, repeat), tiles).reshape(-1, *(1,) * (found[name].ndim - axis - 1))
            found[name] = (found[name] / along).astype(np.float32)


def _magnitudes(found: Mapping[str, np.ndarray], places: Mapping[Axis, Tiling], units: int) -> np.ndarray:
    """The largest |number| that belongs to each unit, in any tensor."""
    largest = np.zeros(units)
    for (name, axis), (_, tiles) in places.items():
        if name in found:
            rows = np.abs(np.moveaxis(found[name], axis, 0)).reshape(tiles, units, -1)
            largest = np.maximum(largest, rows.max(axis=(0, 2)))
    return largest


def _axes(flow: UnitFlow, made: Mapping[str, tuple[str, ...]]) -> dict[Axis, Units]:
    """The units on every axis of every tensor and value; a bias that was made lies as its weight's rows do."""
    axes = {(name, axis): units for name, row in flow.axes.items() for axis, units in row.items()}
    axes |= {(name, 0): layer.rows for layer in flow.layers for name in made[layer.node.output][1:]}
    return axes | {(name, layout.axis): layout.units for name, layout in flow.layouts.items()}


def _places(order: Units, axes: Mapping[Axis, Units]) -> dict[Axis, Tiling] | None:
    """Where units lie, if they lie as one whole in this order on each of these axes; else None."""
    places: dict[Axis, Tiling] = {}
    for axis, units in axes.items():
        repeat = int(np.argmin(units == units[0])) or len(units)
        tiles, rest = divmod(len(units), repeat * len(order))
        if rest or not np.array_equal(units, np.tile(np.repeat(order, repeat), tiles)):
            return None
        places[axis] = repeat, tiles
    return places


def _spread(moved: Int64[np.ndarray, " units"], repeat: int, tiles: int) -> Int64[np.ndarray, " positions"]:
    """The order of an axis' positions, from that of its units."""
    one = (moved[:, None] * repeat + np.arange(repeat)).reshape(-1)
    return (np.arange(tiles)[:, None] * len(one) + one).reshape(-1)


def _kept_first(group: UnitGroup, tiles: int) -> UnitGroup:
    return UnitGroup(group.size, np.tile(np.sort(group.kept[: group.size // tiles])[::-1], tiles))
