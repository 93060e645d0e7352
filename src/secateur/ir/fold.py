"""Fold a batch norm into the convolution or linear layer before it: one affine map after another is one affine map.

With s = gamma / sqrt(variance + eps):  s * (W x + b - mean) + beta = (s W) x + (s (b - mean) + beta).
Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
CVPR 2018, section 3.2, equation 14. Zeros of W stay zeros.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from secateur.ir.graph import Graph, Node, ValueType
from secateur.ir.naming import bias_beside, is_made, module_of
from secateur.ir.records import Fold
from secateur.ir.units.layout import LAYERS

Constants = Mapping[str, np.ndarray]


def fold_batch_norm(
    graph: Graph, constants: Constants
) -> tuple[Graph, dict[str, np.ndarray], tuple[Fold, ...], tuple[str, ...]]:
    """Fold every batch norm that is used once and alone reads the output of one layer (LAYERS) into that layer's weight
    and bias.

    Arithmetic is float64, rounded once to float32; a missing bias is made ("conv1.weight" -> "conv1.bias").
    Returns the new graph, its constants (those no longer read are dropped), one Fold a norm, and for every norm that
    stays a line that says why. The new graph computes the same function within float32 rounding.
    """
    nodes = {node.output: node for node in graph.nodes}
    types = dict(graph.types)
    tensors = dict(constants)
    folds: list[Fold] = []
    reasons: list[str] = []
    shared = {
        name for name, times in Counter(name for node in graph.nodes for name in node.inputs).items() if times > 1
    }
    for norm in graph.nodes:
        if norm.op != "batch_norm":
            continue
        reads = Counter(name for node in nodes.values() for name in node.inputs)
        reads.update(graph.outputs)
        layer = nodes.get(norm.inputs[0])
        affine = _affine(norm, tensors)
        refusal = _refusal(layer, affine, types, tensors, reads)
        if not refusal and any(name in shared and not is_made(name) for name in norm.inputs[1:]):
            # Its module would have to be the identity in one place and not, or with another bias, in the other.
            refusal = "it is used in several places, or shares its parameters"
        if layer is None or affine is None or refusal:
            reasons.append(f"{_norm_name(norm)} stays: {refusal}")
            continue
        folded = _folded(layer, affine, tensors)
        if folded is None:
            reasons.append(f"{_norm_name(norm)} stays: folding it would overflow float32")
            continue
        weight = layer.inputs[1]
        bias = layer.inputs[2] if len(layer.inputs) == 3 else bias_beside(weight, types)
        tensors[weight], tensors[bias] = folded
        types[bias] = ValueType(folded[1].shape)
        # The layer takes over the norm's output and place, so that the order of execution stays valid.
        nodes[norm.output] = Node(layer.op, (layer.inputs[0], weight, bias), norm.output, layer.attributes)
        del nodes[layer.output], types[layer.output]
        folds.append(Fold(_norm_name(norm), module_of(weight), float(_eps(norm))))
    return *_without_unread(graph, tuple(nodes.values()), types, tensors), tuple(folds), tuple(reasons)


@dataclass(frozen=True)
class _Affine:
    """A norm in evaluation: scale * (x - mean) + shift, float64, one entry a channel."""

    scale: np.ndarray
    mean: np.ndarray
    shift: np.ndarray


def _eps(norm: Node) -> float:
    eps = norm.attributes["eps"]
    assert isinstance(eps, int | float)
    return float(eps)


def _norm_name(norm: Node) -> str:
    """The module's name, taken from its running mean: the affine part may be made up, the statistics never are."""
    return module_of(norm.inputs[3])


def _affine(norm: Node, tensors: Constants) -> _Affine | None:
    """None when the norm's parameters are computed, or its scale is not a finite number."""
    if not all(name in tensors for name in norm.inputs[1:]):
        return None
    gamma, beta, mean, variance = (tensors[name].astype(np.float64) for name in norm.inputs[1:])
    shifted = variance + _eps(norm)
    if not (shifted > 0).all():
        return None
    scale = gamma / np.sqrt(shifted)
    return _Affine(scale, mean, beta) if all(np.isfinite(part).all() for part in (scale, mean, beta)) else None


def _refusal(
    layer: Node | None,
    affine: _Affine | None,
    types: Mapping[str, ValueType],
    tensors: Constants,
    reads: Mapping[str, int],
) -> str:
    """Why a norm cannot be folded into the node before it; empty when it can."""
    if layer is None or layer.op not in LAYERS:
        return "its input is not the output of a convolution or linear layer"
    if affine is None:
        return "its parameters are not finite constants with variance + eps above zero"
    name = module_of(layer.inputs[1]) or "the layer before it"  # whose weight the graph computes
    if reads[layer.output] != 1:
        return f"the output of {name} is also read elsewhere"
    if any(read not in tensors or reads[read] != 1 for read in layer.inputs[1:]):
        return f"the weight or bias of {name} is shared or computed"
    weight = types[layer.inputs[1]].shape
    if len(types[layer.output].shape) != len(weight):
        return f"the channels of {name} are not on axis 1"
    return ""


def _folded(layer: Node, affine: _Affine, tensors: Constants) -> tuple[np.ndarray, np.ndarray] | None:
    """The layer's new weight and bias, or None when float32 cannot hold them."""
    weight = tensors[layer.inputs[1]].astype(np.float64)
    bias = tensors[layer.inputs[2]].astype(np.float64) if len(layer.inputs) == 3 else np.zeros(len(affine.scale))
    scaled = _scaled(layer, weight, affine.scale)
    shifted = affine.scale * (bias - affine.mean) + affine.shift
    with np.errstate(over="ignore"):
        # Adding 0.0 turns the -0.0 of a negative scale into +0.0: a pruned weight stays a plain zero.
        narrow = (scaled + 0.0).astype(np.float32), shifted.astype(np.float32)
    return narrow if all(np.isfinite(part).all() for part in narrow) else None


def _scaled(layer: Node, weight: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The weight with every output channel scaled: they lie on axis 0, or, a group at a time, on axis 1."""
    if layer.op != "conv_transpose":
        return weight * scale.reshape(-1, *(1,) * (weight.ndim - 1))
    groups = layer.attributes["groups"]
    assert isinstance(groups, int)
    grouped = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
    return (grouped * scale.reshape(groups, 1, -1, 1)).reshape(weight.shape)


def _without_unread(
    graph: Graph, nodes: tuple[Node, ...], types: Mapping[str, ValueType], tensors: Constants
) -> tuple[Graph, dict[str, np.ndarray]]:
    """The graph of `nodes` with only the constants they read."""
    read = {name for node in nodes for name in node.inputs} | set(graph.outputs)
    order = dict.fromkeys((*graph.constants, *tensors))
    constants = tuple(name for name in order if name in tensors and name in read)
    live = {*graph.inputs, *constants, *(node.output for node in nodes)}
    kept_types = {name: value for name, value in types.items() if name in live}
    return replace(graph, constants=constants, nodes=nodes, types=kept_types), {n: tensors[n] for n in constants}
