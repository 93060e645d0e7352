"""initialise_norms_(): a model begins where its constraints hold, by one batch of inputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from secateur.errors import PlanError
from secateur.nn.mode_kept import mode_kept
from secateur.nn.norms.lagrange_norm import LagrangeNorm
from secateur.nn.norms.penalty import lagrange_norms
from secateur.nn.norms.sites import makers
from secateur.nn.norms.swap import normalise_maker_

LEAST = 1e-12
"""Of a variance: a channel that is the same everywhere keeps its scale."""


@torch.no_grad()
def initialise_norms_(model: nn.Module, *inputs: Any) -> tuple[str, ...]:
    """Change the layers before LagrangeNorm layers, in the order they run, so that on this batch what reaches each has
    mean 0 and variance s per channel; the layers' names that this was not possible for.

    inputs   a batch, as the model takes it: some hundred examples tell a variance well
    Data-dependent initialisation after Mishkin and Matas 2016 ("All you need is a good init"). The model is in
    evaluation meanwhile. PlanError where there is no LagrangeNorm or the model cannot be traced.
    """
    layers = lagrange_norms(model)
    if not layers:
        raise PlanError("the model has no LagrangeNorm layer: swap_norms_(model, 'lagrange', example) puts them in")
    found = makers(model, inputs, (LagrangeNorm,))
    possible = {name: model.get_submodule(maker.name) for name, maker in found.items() if not maker.reason}
    hooks = [layers[name].register_forward_pre_hook(_Normalise(maker)) for name, maker in possible.items()]
    try:
        with mode_kept(model):
            model.eval()(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return tuple(name for name in layers if name not in possible)


class _Normalise:
    """Before a norm runs: moves its input's statistics into the layer that made it, and hands on what that would make
    now."""

    def __init__(self, maker: nn.Module) -> None:
        self.maker = maker

    def __call__(self, norm: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        assert isinstance(norm, LagrangeNorm)
        x = inputs[0]
        axes = [axis for axis in range(x.dim()) if axis != 1]
        variance, mean = torch.var_mean(x.double(), axes, correction=0)
        wanted = torch.as_tensor(norm.wanted_variance(), dtype=variance.dtype, device=variance.device)
        spread = torch.where(variance > LEAST, (variance / wanted).sqrt(), 1.0)
        normalise_maker_(self.maker, mean, spread)
        shape = (1, -1, *(1,) * (x.dim() - 2))
        return (((x.double() - mean.reshape(shape)) / spread.reshape(shape)).to(x.dtype),)
