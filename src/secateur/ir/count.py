"""What a network holds and does: parameters, nonzeros and multiply-accumulates (macs), layer by layer."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from secateur.ir.graph import Graph, Node
from secateur.ir.ops import OPS


@dataclass(frozen=True)
class LayerCount:
    """The figures of one node, for one example.

    name            the node's output
    op              its operation
    parameters      elements of the float32 constants it reads
    nonzeros        how many of them are not zero
    macs            multiply-accumulates of a dense execution, those on padding included
    effective_macs  of these, the ones whose weight is not zero
    map_macs        of these, products of maps: no weight takes part in them
    """

    name: str
    op: str
    parameters: int
    nonzeros: int
    macs: int
    effective_macs: int
    map_macs: int = 0


@dataclass(frozen=True)
class Count:
    """The figures of a graph. The totals hold a constant that several layers share once; `layers` shows it in each."""

    layers: tuple[LayerCount, ...]
    parameters: int
    nonzeros: int
    macs: int
    effective_macs: int
    map_macs: int = 0

    @property
    def density(self) -> float:
        """Nonzeros as a fraction of parameters; 1.0 where there are none."""
        return self.nonzeros / self.parameters if self.parameters else 1.0


def count(graph: Graph, constants: Mapping[str, np.ndarray]) -> Count:
    """Count a verified graph, for one example (batch size 1).

    A parameter is an element of a float32 constant: a batch norm's running mean counts like its weight until it is
    folded away, integer indices and masks do not. Layers are the nodes that read such a constant or multiply.
    """
    names = [name for name in graph.constants if graph.types[name].dtype == "float32"]
    nonzeros = {name: int(np.count_nonzero(constants[name])) for name in names}
    sizes = {name: int(constants[name].size) for name in names}
    fixed = _fixed(graph)
    nodes = (_count_node(graph, node, sizes, nonzeros, fixed) for node in graph.nodes)
    layers = tuple(layer for layer in nodes if layer.parameters or layer.macs)
    return Count(
        layers,
        sum(sizes.values()),
        sum(nonzeros.values()),
        sum(layer.macs for layer in layers),
        sum(layer.effective_macs for layer in layers),
        sum(layer.map_macs for layer in layers),
    )


def _fixed(graph: Graph) -> set[str]:
    """Values that constants alone decide, as a weight that the graph computes."""
    fixed = set(graph.constants)
    for node in graph.nodes:
        if node.inputs and fixed.issuperset(node.inputs):
            fixed.add(node.output)
    return fixed


def _count_node(
    graph: Graph, node: Node, sizes: Mapping[str, int], nonzeros: Mapping[str, int], fixed: Collection[str]
) -> LayerCount:
    op = OPS[node.op]
    macs = op.macs([graph.types[name] for name in node.inputs], node.attributes)
    # Every weight takes part in equally many macs, so this is exact; one that the graph computes counts as dense.
    if op.weights is None:
        factors = [[name] for name in node.inputs[:2] if name in fixed]
    else:
        factors = [[node.inputs[place] for place in op.weights(len(node.inputs))]]
    effective = macs if factors else 0
    for names in factors:
        elements = [prod(graph.types[name].bind(1)) for name in names]
        live = [nonzeros.get(name, size) for name, size in zip(names, elements, strict=True)]
        effective = effective * sum(live) // sum(elements)
    read = [name for name in dict.fromkeys(node.inputs) if name in sizes]
    figures = _total(sizes, read), _total(nonzeros, read), macs, effective, 0 if factors else macs
    return LayerCount(node.output, node.op, *figures)


def _total(figures: Mapping[str, int], names: Iterable[str]) -> int:
    return sum(figures[name] for name in names)
