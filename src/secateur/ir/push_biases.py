"""Push biases on: a bias that only moves another bias is added to that one and becomes zero, which costs no bytes.

Between a layer and the next there may be poolings and reshapes alone, as in LeNet-5-Caffe, whose convolutions have no
activation: the largest, or the mean, of x + b is that of x, plus b. So W (pool(x + b)) + c = W pool(x) + (W b + c).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from secateur.ir.graph import Graph, Node
from secateur.ir.units.layout import Layer, UnitFlow
from secateur.ir.units.rules import trace_units
from secateur.ir.units.settle import column_sums, is_padded

MOVES = ("max_pool", "average_pool", "adaptive_max_pool", "adaptive_average_pool", "reshape")
"""What a constant added to a channel passes through unchanged; an average over zeros of a padding is the exception."""


def push_biases(graph: Graph, constants: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The constants with every bias that can be pushed into the next layer's bias pushed there, first layer first.

    graph must be verified and hold exactly the constants it reads. The function stays the same within float32 rounding;
    sums are taken in float64 and rounded once. A bias stays where the next layer has none, pads with zeros, or would
    take up something that float32 cannot hold.
    """
    flow, tensors = trace_units(graph, constants), dict(constants)
    for layer in flow.layers:
        reader = _reader(flow, layer)
        if layer.bias is None or reader is None or reader.columns is None or reader.bias is None:
            continue
        if not (flow.is_private(layer.bias) and flow.is_private(reader.bias)):
            continue
        place = {unit: index for index, unit in enumerate(layer.rows.tolist())}
        columns = [place[unit] for unit in reader.columns.tolist()]
        sums, bias = column_sums(reader.taps(tensors[reader.weight])), tensors[layer.bias].astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            moved = (tensors[reader.bias] + sums @ bias[columns]).astype(np.float32)
        if np.isfinite(moved).all():
            tensors[reader.bias], tensors[layer.bias] = moved, np.zeros_like(tensors[layer.bias])
    return tensors


def _reader(flow: UnitFlow, layer: Layer) -> Layer | None:
    """The one layer that reads this one's outputs, moved but unchanged; None where there is no such layer."""
    if layer.depthwise:
        return None
    name = layer.node.output
    while len(readers := [node for node in flow.graph.nodes if name in node.inputs]) == 1 and name not in (
        flow.graph.outputs
    ):
        (node,) = readers
        if not _moves(node):
            found = [layer for layer in flow.layers if layer.node is node and not layer.depthwise]
            return found[0] if found and node.inputs[0] == name and not is_padded(found[0]) else None
        name = node.output
    return None


def _moves(node: Node) -> bool:
    padding = node.attributes.get("padding", ())
    assert isinstance(padding, tuple)
    averages_zeros = node.op == "average_pool" and any(padding) and bool(node.attributes["count_include_pad"])
    return node.op in MOVES and not averages_zeros
