"""strip_(): the side door. A plain nn.Module with the original keys and the baked weights. bake_(): the same for those
who pack, with quantized maps left in."""

from __future__ import annotations

import warnings
from typing import cast

import torch
from torch import nn

from secateur.errors import PlanError, SecateurWarning
from secateur.nn.maps.insertion import remove_
from secateur.nn.sites import PRUNABLE, original_of
from secateur.nn.transform import all_ends


@torch.no_grad()
def strip_(model: nn.Module) -> nn.Module:
    """Bake every transformed weight into its parameter and remove the transforms, in place; returns the model.

    The outputs stay equal bit for bit, the state-dict keys are those from before `prepare_`, tied weights stay tied and
    an optimizer's parameters stay the same objects. A model that was never prepared is returned as it is. Stripping a
    soft model bakes the soft gates, as they are. Quantizers of feature maps go too, so that maps are float again and
    the outputs differ by that: a SecateurWarning says so. PlanError if a weight has a further parametrization on top.
    """
    bake_(model)
    if remove_(model):
        warnings.warn(
            "the feature maps of this model are float again: strip_ keeps what quantizing did to weights, and pack is "
            "what keeps quantized maps",
            SecateurWarning,
            stacklevel=3,  # no_grad is one frame between
        )
    return model


@torch.no_grad()
def bake_(model: nn.Module) -> nn.Module:
    """Bake every transformed weight into its parameter and remove the transforms, in place; returns the model.
    Quantizers of feature maps stay what they are."""
    ends = list(all_ends(model))
    for path, module, tensor, _ in ends:
        if len(module.parametrizations[tensor]) > 1:  # pyright: ignore[reportArgumentType, reportIndexIssue]
            raise PlanError(f"{path}.{tensor} has a further parametrization on top: remove that one first")
    baked: set[int] = set()
    for _, module, tensor, transform in ends:
        if id(transform) not in baked:
            baked.add(id(transform))
            original = original_of(module, tensor)
            original.copy_(transform(original))
    for _, module, tensor, _ in reversed(ends):
        _unregister(module, tensor)
    for module in {module for _, module, _, _ in ends}:
        _reorder(module)
        if isinstance(module, nn.RNNBase):
            module._init_flat_weights()  # it keeps its weights a second time
    return model


def _unregister(module: nn.Module, tensor: str) -> None:
    """Give the module its plain parameter back.

    Not torch's remove_parametrizations: that one deletes the property from a class which deep copies share, so that
    stripping a copy would break the original.
    """
    original = original_of(module, tensor)
    chains = cast(nn.ModuleDict, module.parametrizations)
    del chains[tensor]
    parametrized = type(module)
    if len(chains):
        members = {name: value for name, value in vars(parametrized).items() if name != tensor}
        module.__class__ = cast(type[nn.Module], type(parametrized.__name__, parametrized.__bases__, members))
    else:
        del module.parametrizations
        module.__class__ = parametrized.__bases__[0]
    module.register_parameter(tensor, original)


def _reorder(module: nn.Module) -> None:
    """Parameters in their original order, since files compare key order: those just given back now stand last."""
    if isinstance(module, nn.RNNBase):
        first = module._flat_weights_names
    else:
        first = [name for kind, names in PRUNABLE.items() if isinstance(module, kind) for name in names]
    names = [
        *(name for name in first if name in module._parameters),
        *(n for n in module._parameters if n not in first),
    ]
    for name in names:
        module._parameters[name] = module._parameters.pop(name)
