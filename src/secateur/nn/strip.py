"""strip_(): the side door. A plain nn.Module with the original keys and the baked weights."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parametrize

from secateur.errors import PlanError
from secateur.nn.sites import original_of
from secateur.nn.transform import all_ends


@torch.no_grad()
def strip_(model: nn.Module) -> nn.Module:
    """Bake every transformed weight into its parameter and remove the transforms, in place; returns the model.

    The outputs stay equal bit for bit, the state-dict keys are those from before `prepare_`, tied weights stay tied and
    an optimizer's parameters stay the same objects. A model that was never prepared is returned as it is. Stripping a
    soft model bakes the soft gates, as they are. PlanError if a weight has a further parametrization on top.
    """
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
        parametrize.remove_parametrizations(module, tensor, leave_parametrized=False)
        _move_to_front(module, tensor)
    return model


def _move_to_front(module: nn.Module, tensor: str) -> None:
    """Torch re-registers the parameter last; the weights stood first, and files compare key order."""
    parameters = module._parameters
    for name in [name for name in parameters if name != tensor]:
        parameters[name] = parameters.pop(name)
