"""Which layer makes what a normalization layer takes: the one whose weights can do the normalizing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from torch import fx, nn
from torch.nn.utils.parametrize import is_parametrized

from secateur.errors import PlanError
from secateur.nn.fx_graph import TRACING_ERRORS, calls_of, place_of

MAKERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Layers whose output channels are axis 0 of their weights."""


@dataclass(frozen=True)
class Maker:
    """The layer that makes what a norm takes, by name; or why none does it alone."""

    name: str = ""
    reason: str = ""


def makers(model: nn.Module, example: tuple[Any, ...], norms: tuple[type[nn.Module], ...]) -> dict[str, Maker]:
    """Name of a normalization layer of these kinds -> its maker; norms that are never called are not in it.

    PlanError where the model's code cannot be traced.
    """
    try:
        graph = calls_of(model, len(example), leaves=(*norms, *MAKERS)).module.graph
    except TRACING_ERRORS as error:
        raise PlanError(
            f"what stands before the norms cannot be told: tracing the model failed{place_of(error)}: {error}"
        ) from error
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    found = {}
    for node in graph.nodes:
        if node.op == "call_module" and isinstance(model.get_submodule(str(node.target)), norms):
            found[str(node.target)] = _maker(model, node, calls)
    return found


def _maker(model: nn.Module, norm: fx.Node, calls: Counter[Any]) -> Maker:
    source = norm.args[0] if norm.args else None
    if calls[norm.target] > 1:
        return Maker(reason="it is called more than once")
    if not isinstance(source, fx.Node) or source.op != "call_module":
        return Maker(reason="what it takes is not the output of a layer")
    layer, name = model.get_submodule(str(source.target)), str(source.target)
    if not isinstance(layer, MAKERS):
        kind = type(layer).__name__
        return Maker(reason=f"{name} ({kind}) makes what it takes, not a linear layer or convolution")
    if calls[source.target] > 1 or len(source.users) > 1:
        return Maker(reason=f"{name} is called more than once or read by others too")
    if is_parametrized(layer):
        return Maker(reason=f"the weights of {name} are parametrized: swap norms before prepare_")
    return Maker(name)
