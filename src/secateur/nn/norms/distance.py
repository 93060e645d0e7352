"""How far what reaches LagrangeNorm layers is from mean 0 and variance s: in evaluation, where nothing corrects it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from secateur.errors import PlanError
from secateur.nn.mode_kept import mode_kept
from secateur.nn.norms.lagrange_norm import LagrangeNorm
from secateur.nn.norms.penalty import lagrange_norms


@dataclass(frozen=True)
class NormDistance:
    """Per channel of one layer, float64: mean and variance of what reached it, and the variance s that was wanted."""

    mean: Tensor
    variance: Tensor
    wanted: Tensor

    @property
    def worst(self) -> tuple[float, float]:
        """Largest |mean| / sqrt(s) and largest |variance / s - 1| of a channel."""
        off = self.mean.abs() / self.wanted.sqrt()
        return float(off.max()), float((self.variance / self.wanted - 1).abs().max())


class _Sums:
    """Sums over all that reached one layer, of differences from the first value, so that a large mean costs nothing."""

    def __init__(self) -> None:
        self.count, self.start, self.first, self.second = 0, torch.zeros(()), torch.zeros(()), torch.zeros(())

    def __call__(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].detach().double().transpose(0, 1).flatten(1)
        if not self.count and x.numel():
            self.start = x[:, :1].clone()
        apart = x - self.start
        self.count += apart.shape[1]
        self.first, self.second = self.first + apart.sum(1), self.second + apart.square().sum(1)

    def distance(self, layer: LagrangeNorm) -> NormDistance:
        mean = self.first / self.count
        wanted = torch.as_tensor(layer.wanted_variance(), dtype=mean.dtype).detach().expand_as(mean)
        return NormDistance(self.start.flatten() + mean, self.second / self.count - mean.square(), wanted)


@contextmanager
def watched_norms(model: nn.Module) -> Iterator[dict[str, NormDistance]]:
    """Layer -> its distance over all that reaches it inside, filled when it ends; layers nothing reached are not in
    it."""
    layers = lagrange_norms(model)
    sums = {name: _Sums() for name in layers}
    hooks = [layer.register_forward_pre_hook(sums[name]) for name, layer in layers.items()]
    found: dict[str, NormDistance] = {}
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
    found.update((name, one.distance(layers[name])) for name, one in sums.items() if one.count)


@torch.no_grad()
def norm_distances(model: nn.Module, batches: Iterable[tuple[Any, ...]]) -> dict[str, NormDistance]:
    """Layer -> its distance over these inputs of the model, in evaluation. PlanError where nothing reached a layer."""
    with mode_kept(model), watched_norms(model) as found:
        model.eval()
        for inputs in batches:
            model(*inputs)
    if not found:
        raise PlanError("nothing reached a LagrangeNorm layer: the model has none, or there were no inputs")
    return found
