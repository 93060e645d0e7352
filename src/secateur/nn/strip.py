"""strip_(): the side door. A plain nn.Module with the original keys and the baked weights."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parametrize

from secateur.nn.transform import WeightTransform, all_ends


@torch.no_grad()
def strip_(model: nn.Module) -> nn.Module:
    """Bake every transformed weight into its parameter and remove the transforms, in place; returns the model.

    The outputs stay equal bit for bit, the state-dict keys are those from before `prepare_`, tied weights stay tied.
    A model that was never prepared is returned as it is. Stripping a soft model bakes the soft gates, as they are.
    """
    ends = list(all_ends(model))
    baked: dict[int, nn.Parameter] = {}
    for _, module, tensor, transform in ends:
        original = module.parametrizations[tensor].original  # pyright: ignore[reportIndexIssue, reportAttributeAccessIssue]
        if id(transform) not in baked:
            original.copy_(transform(original))
            baked[id(transform)] = original
    for _, module, tensor, transform in ends:
        _remove(module, tensor, transform, baked[id(transform)])
    return model


def _remove(module: nn.Module, tensor: str, transform: WeightTransform, parameter: nn.Parameter) -> None:
    """Unregister one parametrization, keeping the very parameter object (torch's own removal keeps it only untied)."""
    if len(module.parametrizations[tensor]) > 1:  # pyright: ignore[reportArgumentType, reportIndexIssue]
        raise RuntimeError(f"{type(module).__name__}.{tensor} has a further parametrization beside {type(transform).__name__}")
    parametrize.remove_parametrizations(module, tensor, leave_parametrized=False)
    module.register_parameter(tensor, parameter)
