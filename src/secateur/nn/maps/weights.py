"""Which weights multiply a feature map: their state-dict keys, so that bit operations can be counted."""

from __future__ import annotations

from torch import fx, nn

from secateur.nn.maps.flow import Flow
from secateur.nn.maps.operations import WEIGHED, argument, called, operands
from secateur.nn.sites import PRUNABLE, TABLES

MULTIPLYING = (*(kind for kind in PRUNABLE if not issubclass(kind, TABLES)), nn.Bilinear)


def weights_on(flow: Flow, node: fx.Node, operand: fx.Node) -> list[str]:
    """What a call of one weight, or a product, multiplies this operand with, where that is a tensor of the model."""
    word = flow.words[node]
    if word in WEIGHED and node.op == "call_module":
        return [f"{node.target}.weight"]
    if word == "product":
        others = [other for other in operands(node, word) if other is not operand]
    else:
        weight = argument(node, 1, "weight") if word in WEIGHED else None
        others = [weight] if isinstance(weight, fx.Node) else []
    return [str(flow.maker(other).target) for other in others if flow.maker(other).op == "get_attr"]


def projections(flow: Flow, node: fx.Node) -> list[list[str]]:
    """What multiplies query, key and value of a MultiheadAttention."""
    module = called(node, flow.module)
    assert isinstance(module, nn.MultiheadAttention)
    if module.in_proj_weight is not None:
        return [[f"{node.target}.in_proj_weight"]] * 3
    return [[f"{node.target}.{letter}_proj_weight"] for letter in "qkv"]


def weights_inside(flow: Flow, node: fx.Node) -> list[str]:
    """What multiplies values that are made inside a module, or that it reads without a quantizer."""
    module = called(node, flow.module)
    if module is None:
        return []
    if isinstance(module, nn.MultiheadAttention):
        return [f"{node.target}.out_proj.weight"]
    return [f"{node.target}.{key}" for key, _ in module.named_parameters() if _multiplies(module, key)]


def is_opaque(flow: Flow, node: fx.Node) -> bool:
    """Whether a call multiplies by weights where no quantizer can reach."""
    return node.op == "call_module" and not flow.words[node] and bool(weights_inside(flow, node))


def _multiplies(module: nn.Module, key: str) -> bool:
    path, _, name = key.rpartition(".")
    owner = module.get_submodule(path)
    return isinstance(owner, MULTIPLYING) and owner.get_parameter(name).dim() > 1
