"""Dead units and patterns: an input that goes shifts those behind it into other groups: only where that pays.

A weight with n of every m inputs costs a kernel its groups' places; out of the pattern it costs all of its elements, or
the places of the pattern it has then. A unit that stays though nobody reads it costs what makes it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from secateur.ir.count import count
from secateur.ir.dead_units import Removed, remove_dead_units
from secateur.ir.graph import Graph, Node
from secateur.ir.pattern_search import FoundPattern, found_pattern, holds
from secateur.ir.units.layout import LAYERS


def removed_around_patterns(graph: Graph, constants: Mapping[str, np.ndarray], *, keep: bool = True) -> Removed:
    """`remove_dead_units`, or the same with all inputs of the weights that would lose their pattern, whichever needs
    fewer multiplications. keep=False: patterns do not matter."""
    removed = remove_dead_units(graph, constants)
    before = _patterns(graph, constants) if keep else {}
    lost = _lost(graph, before, removed[1])
    if not lost:
        return removed
    why = {name: f"{found.pattern} of {name} would not hold without them" for name, found in lost.items()}
    whole = remove_dead_units(graph, constants, whole=why)
    return min((whole, removed), key=lambda one: _macs(one[0], one[1], before))


def lost_patterns(graph: Graph, before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]) -> list[str]:
    """What to tell of the weights of a graph that no longer have the pattern they had."""
    lost = _lost(graph, _patterns(graph, before), after)
    return [f"{name} no longer has {found.pattern}: its inputs were removed or sorted" for name, found in lost.items()]


def _lost(graph: Graph, before: Mapping[str, FoundPattern], after: Mapping[str, np.ndarray]) -> dict[str, FoundPattern]:
    axes = {node.inputs[1]: _input_axis(node) for node in _layers(graph)}
    return {name: old for name, old in before.items() if not holds(old.pattern, after[name], axes[name])}


def _patterns(graph: Graph, tensors: Mapping[str, np.ndarray]) -> dict[str, FoundPattern]:
    """Of the weights of layers."""
    weights = {node.inputs[1]: node for node in _layers(graph) if node.inputs[1] in tensors}
    found = {name: found_pattern(tensors[name], _input_axis(node)) for name, node in weights.items()}
    return {name: pattern for name, pattern in found.items() if pattern is not None}


def _layers(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes if node.op in LAYERS]


def _input_axis(node: Node) -> int:
    return 0 if node.op == "conv_transpose" else 1


def _macs(graph: Graph, tensors: Mapping[str, np.ndarray], before: Mapping[str, FoundPattern]) -> float:
    """Multiplications of one example: places of groups in weights with a pattern, all elements where there was one, the
    elements that are not zero in others."""
    patterns, total = _patterns(graph, tensors), 0.0
    macs = {layer.name: layer.macs for layer in count(graph, tensors).layers}
    for node in _layers(graph):
        name = node.inputs[1]
        if name not in tensors or not tensors[name].size:
            continue
        found, size = patterns.get(name), tensors[name].size
        places = found.entries if found else size if name in before else np.count_nonzero(tensors[name])
        total += macs.get(node.output, 0) * places / size
    return total
