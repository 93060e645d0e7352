"""The smaller graph: cut dead units out of every tensor, type and attribute that counts them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from secateur.ir.graph import Attribute, Graph, Node, ValueType
from secateur.ir.naming import bias_beside
from secateur.ir.records import UnitGroup
from secateur.ir.units.layout import UnitFlow, Units
from secateur.ir.units.settle import Settlement

Axes = dict[str, dict[int, Units]]


def compact(flow: UnitFlow, settled: Settlement) -> tuple[Graph, dict[str, np.ndarray], Axes]:
    """The graph and constants without the dead units; and, for every tensor, the units its axes had before.

    A layer that takes up a constant and has no bias gets one.
    """
    types, tensors, axes = dict(flow.graph.types), dict(flow.constants), dict(flow.axes)
    made: dict[str, str] = {}
    for layer in flow.layers:
        output = layer.node.output
        if output not in settled.biases:
            continue
        name = layer.bias or bias_beside(layer.weight, types)
        if layer.bias is None:
            made[output] = name
            axes[name] = {0: layer.rows}
        with np.errstate(over="ignore"):
            tensors[name] = settled.biases[output].astype(np.float32)
        types[name] = ValueType(tensors[name].shape)
    for name, units in axes.items():
        for axis, row in units.items():
            tensors[name] = _cut(tensors[name], axis, settled.alive[row], settled.hollow[row])
        types[name] = ValueType(tensors[name].shape, types[name].dtype)
    for name, layout in flow.layouts.items():
        shape = list(types[name].shape)
        shape[layout.axis] = int(np.count_nonzero(settled.alive[layout.units]))
        types[name] = ValueType(tuple(shape), types[name].dtype)
    nodes = tuple(_rewritten(node, flow, settled, types, made) for node in flow.graph.nodes)
    constants = (*flow.graph.constants, *made.values())
    return replace(flow.graph, constants=constants, nodes=nodes, types=types), tensors, axes


def unit_groups(axes: Axes, settled: Settlement) -> tuple[tuple[UnitGroup, ...], dict[str, dict[int, tuple[int, int]]]]:
    """The records of every axis that lost units: groups, and tensor -> axis -> (group, repeat)."""
    groups: list[UnitGroup] = []
    known: dict[bytes, int] = {}
    records: dict[str, dict[int, tuple[int, int]]] = {}
    for name, row in axes.items():
        for axis, units in row.items():
            if settled.alive[units].all():
                continue
            roots = settled.roots[units]
            repeat = int(np.gcd.reduce(np.append(np.flatnonzero(np.diff(roots)) + 1, len(roots))))
            members = roots[::repeat]
            index = known.setdefault(members.tobytes(), len(groups))
            if index == len(groups):
                groups.append(UnitGroup(len(members), settled.alive[members]))
            records.setdefault(name, {})[axis] = index, repeat
    return tuple(groups), records


def _cut(tensor: np.ndarray, axis: int, alive: np.ndarray, hollow: np.ndarray) -> np.ndarray:
    """Without dead positions; zero at hollow ones, as they will be when the dead are restored."""
    if hollow.any():
        tensor = tensor.copy()
        tensor[(slice(None),) * axis + (hollow,)] = 0
    return tensor if alive.all() else np.compress(alive, tensor, axis=axis)


def _rewritten(
    node: Node, flow: UnitFlow, settled: Settlement, types: Mapping[str, ValueType], made: Mapping[str, str]
) -> Node:
    """The node with a bias where one was made and with attributes that count what is left."""
    inputs = (*node.inputs, made[node.output]) if node.output in made else node.inputs
    changes = _recounted(node, flow, settled, types)
    return Node(node.op, inputs, node.output, {**node.attributes, **changes})


def _recounted(node: Node, flow: UnitFlow, settled: Settlement, types: Mapping[str, ValueType]) -> dict[str, Attribute]:
    if node.op in ("reshape", "expand"):
        return {"shape": types[node.output].shape}
    if any(layer.depthwise and layer.node.output == node.output for layer in flow.layers):
        return {"groups": types[node.inputs[0]].shape[1]}
    source = flow.layouts.get(node.inputs[0])
    if node.op == "slice" and source is not None and source.axis == node.attributes["axis"]:
        alive = np.concatenate(([0], np.cumsum(settled.alive[source.units])))
        start, stop = node.attributes["start"], node.attributes["stop"]
        assert isinstance(start, int)
        assert isinstance(stop, int)
        return {"start": int(alive[start]), "stop": int(alive[stop]), "step": node.attributes["step"]}
    return {}
