"""Replace the layers of a model that is no graph, one by one."""

from __future__ import annotations

from typing import Any

from torch import nn

from secateur.bridge.deciding import decided
from secateur.bridge.graph_sites import inside, other_kinds
from secateur.bridge.trial import Call, Handed, Progress, Site, Trial, compile_for, is_layer
from secateur.kernels.acceleration import LayerReport
from secateur.kernels.balanced_choice import FLOAT
from secateur.nn.fx_graph import fresh
from secateur.nn.layer_inputs import first_inputs

ON_THEIR_OWN = (nn.TransformerEncoderLayer,)
"""They call their layers only while someone watches these: else torch's fast path reads the weights."""


def replace_modules(body: nn.Module, inputs: tuple[Any, ...], trial: Trial) -> list[LayerReport]:
    """Replace layers in place, wherever a shared one stands, each decided with the input of its first call; a row for
    every one."""
    own = {name: one for name, one in body.named_modules() if isinstance(one, ON_THEIR_OWN)}
    below = tuple(f"{name}." if name else "" for name in own)
    others = {name: one for name, one in body.named_modules() if not name.startswith(below)}
    convs = {name: conv for name, conv in others.items() if is_layer(conv)}
    first = first_inputs(body, convs, fresh(inputs))
    compile_for([Call(Site(name, convs[name]), tuple(x.shape), x.dtype) for name, x in first.items()], trial)
    rows, floats = [], trial.asked.activations == FLOAT
    for name, conv in convs.items():
        if name not in first:
            rows.append(LayerReport(name, "", reason="it is not called as a module with the example"))
            continue
        site = Site(name, conv, handed=Handed(told="" if floats else "float32: the model was not traced"))
        row, module = decided(site, first.pop(name), None, trial)
        rows.append(row)
        trial.watch(Progress("measure", len(rows), len(convs), name))
        if module is not None:
            _put(body, conv, module)
    return [*rows, *(row for name, one in own.items() for row in inside(name, one)), *other_kinds(others)]


def _put(body: nn.Module, layer: nn.Module, made: nn.Module) -> None:
    """In the layer's place, with what the model's code may read there: `out_channels`, or what it has set itself."""
    for name, value in vars(layer).items():
        if not name.startswith("_") and not hasattr(made, name):
            setattr(made, name, value)
    for place in [place for place, one in body.named_modules(remove_duplicate=False) if one is layer]:
        body.set_submodule(place, made)
