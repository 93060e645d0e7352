"""Many networks as one: replicas of a network side by side in its channels, so that small ones train at a fair speed.

A training step at batch 1 is as long as its calls. R networks of one shape, each with its own weights and images, are
one network with R times the channels whose convolutions have R groups: no number of one replica reaches another, so
sums of their losses have the gradients of separate runs, and optimizers that work element by element step each alone.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

import secateur as sct


class ReplicaLinear(nn.Module):
    """R linear layers side by side: (batch, R inputs) -> (batch, R outputs)."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.replicas = len(layers)
        self.weight = nn.Parameter(torch.cat([layer.weight.detach() for layer in layers]))
        self.bias = nn.Parameter(torch.cat([layer.bias.detach() for layer in layers]))

    def forward(self, x: Tensor) -> Tensor:
        """Each replica's inputs by its own weights."""
        split = x.reshape(len(x), self.replicas, -1).transpose(0, 1)
        weight = self.weight.reshape(self.replicas, -1, self.weight.shape[1])
        return torch.bmm(split, weight.transpose(1, 2)).transpose(0, 1).reshape(len(x), -1) + self.bias


def side_by_side(models: Sequence[nn.Module]) -> nn.Module:
    """Networks of one shape as one: (batch, R channels, ...) -> (batch, R classes). It computes what they compute.

    Of modules with numbers it takes convolutions, linear layers, batch and group norms and LagrangeNorm2d, whose
    penalty it keeps: rho is shared by a layer's channels, so that R times the channels have R times of it. TypeError
    for any other.
    """
    joined = copy.deepcopy(models[0])
    for name, module in models[0].named_modules():
        own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        if own:
            same = [model.get_submodule(name) for model in models]
            joined.set_submodule(name, _joined(module, same))
    return joined


def _joined(module: nn.Module, same: Sequence[nn.Module]) -> nn.Module:
    count = len(same)
    if isinstance(module, nn.Linear):
        return ReplicaLinear([layer for layer in same if isinstance(layer, nn.Linear)]).train(module.training)
    made = _wider(module, count).to(next(module.parameters())).train(module.training)
    with torch.no_grad():
        for name, wide in [*made.named_parameters(), *made.named_buffers()]:
            if wide.dim() == 0:  # how many batches a batch norm has seen
                wide.copy_(getattr(module, name))
            else:
                axis = 1 if name == "multipliers" else 0
                wide.copy_(torch.cat([getattr(one, name) for one in same], axis))
    return made


def _wider(module: nn.Module, count: int) -> nn.Module:
    """A layer of the same kind for so many replicas."""
    if isinstance(module, nn.Conv2d):
        channels, wide = module.in_channels * count, module.out_channels * count
        size, bias = (module.kernel_size, module.stride, module.padding), module.bias is not None
        return nn.Conv2d(channels, wide, *size, groups=module.groups * count, bias=bias)  # type: ignore[arg-type]
    if isinstance(module, nn.BatchNorm2d):
        return nn.BatchNorm2d(module.num_features * count, module.eps, module.momentum)
    if isinstance(module, nn.GroupNorm):
        return nn.GroupNorm(module.num_groups * count, module.num_channels * count, module.eps)
    if isinstance(module, sct.LagrangeNorm2d):
        s = module.variance if module.log_variance is None else "trained"
        return sct.LagrangeNorm2d(module.channels * count, variance=s, mode=module.mode, rho=module.rho * count)
    raise TypeError(f"a {type(module).__name__} has no form for several replicas here")
