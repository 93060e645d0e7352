"""Remove dead units exactly: channels and neurons that nothing makes (all incoming weights zero) or nobody reads.

A unit whose incoming weights are all zero is the constant act(bias); the constant is folded into the biases of the
layers that read it. Removing one unit can kill others, so this runs to a fixed point. Residual additions,
concatenations, depthwise convolutions and flattening tie units or move them; whatever is not understood keeps its
units. Idea: Han, Pool, Tran, Dally, "Learning both Weights and Connections for Efficient Neural Networks", NeurIPS
2015, section 3.5 (pruning neurons); the constants and the structure are worked out here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from secateur.ir.graph import Graph
from secateur.ir.records import UnitAxes, UnitGroup
from secateur.ir.units.compact import compact, unit_groups
from secateur.ir.units.layout import UnitFlow
from secateur.ir.units.rules import trace_units
from secateur.ir.units.settle import Settlement, settle


@dataclass(frozen=True)
class LayerUnits:
    """What one layer lost: units, weights that were not zero, and biases that went with their unit."""

    layer: str
    before: int
    after: int
    weights_removed: int
    biases_removed: int


@dataclass(frozen=True)
class Kept:
    """Units of a layer that look dead and stay, and why."""

    layer: str
    units: int
    reason: str


@dataclass(frozen=True)
class Removal:
    """What `remove_dead_units` did.

    groups, axes  how to put the tensors back (`records.restore_units`), in original coordinates; only axes that shrank
    layers        every layer (convolutions, linear), in execution order
    kept          units that look dead and stay
    dead_layers   layers nobody needs, of which one unit full of zeros is left because a layer cannot be empty: no
                  result depends on the input through them
    made_biases   biases that were made for layers without one, to take up constants
    """

    groups: tuple[UnitGroup, ...]
    axes: UnitAxes
    layers: tuple[LayerUnits, ...]
    kept: tuple[Kept, ...]
    dead_layers: tuple[str, ...]
    made_biases: tuple[str, ...]


Removed = tuple[Graph, dict[str, np.ndarray], Removal]


def remove_dead_units(
    graph: Graph, constants: Mapping[str, np.ndarray], *, whole: Mapping[str, str] | None = None
) -> Removed:
    """The same function with fewer units; graph must be verified and hold exactly the constants it reads.

    whole  weights that keep all of their inputs, and why

    Outputs equal the original's within float32 rounding, and bit for bit where no constant was folded and sums keep
    their order. Two things are taken for granted: inputs are finite and no activation overflows (a dead unit that
    would have been inf or NaN no longer spreads).
    """
    flow = trace_units(graph, constants)
    for layer in flow.layers:
        if whole and layer.columns is not None and layer.weight in whole:
            flow.pin(layer.columns, whole[layer.weight])
    settled = settle(flow)
    smaller, tensors, axes = compact(flow, settled)
    groups, records = unit_groups(axes, settled)
    made = tuple(name for name in smaller.constants if name not in graph.constants)
    layers = tuple(_layer_counts(flow, tensors, settled))
    removal = Removal(groups, records, layers, _kept(flow, settled), _dead_layers(flow, settled), made)
    return smaller, tensors, removal


def _layer_counts(flow: UnitFlow, tensors: Mapping[str, np.ndarray], settled: Settlement) -> list[LayerUnits]:
    counts: list[LayerUnits] = []
    for layer in flow.layers:
        before, after = len(layer.rows), int(np.count_nonzero(settled.alive[layer.rows]))
        nonzeros = [int(np.count_nonzero(held[layer.weight])) for held in (flow.constants, tensors)]
        biases = before - after if layer.bias else 0
        counts.append(LayerUnits(layer.name, before, after, nonzeros[0] - nonzeros[1], biases))
    return counts


def _kept(flow: UnitFlow, settled: Settlement) -> tuple[Kept, ...]:
    counts: Counter[tuple[str, str]] = Counter()
    for layer in flow.layers:
        for root in settled.roots[layer.rows].tolist():
            if root in settled.reasons:
                counts[layer.name, settled.reasons[root]] += 1
    return tuple(Kept(layer, units, reason) for (layer, reason), units in counts.items())


def _dead_layers(flow: UnitFlow, settled: Settlement) -> tuple[str, ...]:
    return tuple(layer.name for layer in flow.layers if not (settled.alive & ~settled.hollow)[layer.rows].any())
