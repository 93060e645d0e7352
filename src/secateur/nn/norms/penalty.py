"""norm_penalty(): what the constraints of a model's LagrangeNorm layers add to the loss.

Per channel, with the constraints c = mu and c = v - s, multipliers m and weight rho (our reading of US20200097829A1):

    augmented, running    m c + rho/2 c^2
    squared               m c^2                  as published

where means beyond +-FAR and variances beyond FAR + s count by their logarithm, of equal value and slope there, and
rho/2 c^2 grows linearly beyond FAR: so the pull on the scale of a layer has a bound. Early layers scale the variances
of all later ones; without the bound one large step calls for a larger one (12 convolutions in a row, batches of 8:
without it they diverged at rates from 0.003 on, with it they train at 0.01 and diverge at 0.03).

The gradient in m is -rho^2/2 clamp(c, +-1), of "squared" -rho^2/2 min(c^2, 1): descent by the weights' optimizer, at
the weights' rate and momentum, is the multipliers' ascent, and slow beside the weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secateur.errors import PlanError, TrainingError
from secateur.nn.norms.lagrange_norm import FAR, LIMIT, MOMENTUM, LagrangeNorm


def lagrange_norms(model: nn.Module) -> dict[str, LagrangeNorm]:
    """The layers by name, in the order of modules."""
    return {name: module for name, module in model.named_modules() if isinstance(module, LagrangeNorm)}


def norm_penalty(model: nn.Module) -> Tensor:
    """The term to add to the loss of the forward pass before it, a scalar: loss = task + norm_penalty(model).

    Of several forward passes since the last call, their sum. Where gradients are accumulated, call it for every part
    and divide it as the loss is divided; under mixed precision scale it with the loss; each process of a data-parallel
    run has its own. PlanError where there is no LagrangeNorm, or no forward pass in training; TrainingError where a
    layer's mean or variance is no number, with its name.
    """
    layers = lagrange_norms(model)
    if not layers:
        raise PlanError("the model has no LagrangeNorm layer: swap_norms_(model, 'lagrange', example) puts them in")
    passes = [_Pass(name, layer, *seen) for name, layer in layers.items() for seen in layer.take()]
    if not passes:
        raise PlanError("no forward pass in training since the last norm_penalty: model.train(), model(x), then this")
    alike: dict[tuple[str, float], list[_Pass]] = {}
    for one in passes:
        alike.setdefault((one.layer.mode, one.layer.rho), []).append(one)
    total = torch.stack([_penalty(group, *kind) for kind, group in alike.items()]).sum()
    if not torch.isfinite(total):
        raise TrainingError(_diverged(passes))
    return total


@dataclass(frozen=True)
class _Pass:
    """One forward pass of one layer: its statistics, (channels,) each."""

    name: str
    layer: LagrangeNorm
    mean: Tensor
    variance: Tensor


def _penalty(passes: list[_Pass], mode: str, rho: float) -> Tensor:
    """Of passes of layers alike, as one vector of constraints: a few calls for a whole network."""
    _remember_(passes, MOMENTUM if mode == "running" else 1.0)
    squared = mode == "squared"
    held: list[Tensor] = [
        *(one.layer.mean_multiplier for one in passes),
        *(one.layer.variance_multiplier for one in passes),
    ]
    _clamp_(held, 0.0 if squared else -LIMIT)
    statistics = _running(passes) if mode == "running" else [(one.mean, one.variance) for one in passes]
    wanted = [one.layer.wanted_variance() for one in passes]
    apart = [_bounded(v, s + FAR) - s for (_, v), s in zip(statistics, wanted, strict=True)]
    c = torch.cat([*(_bounded(mean.abs(), FAR) * mean.sign() for mean, _ in statistics), *apart])
    multiplier = torch.cat(held)
    value = c.square() if squared else c
    ascent = (multiplier.detach() - multiplier) * value.detach().clamp(-LIMIT, LIMIT)  # 0; its gradient is the ascent
    penalty = 0.0 if squared else rho * F.huber_loss(c, torch.zeros_like(c), reduction="sum", delta=FAR)
    return (multiplier.detach() * value + rho**2 / 2 * ascent).sum() + penalty


def _bounded(size: Tensor, far: Tensor | float) -> Tensor:
    """Sizes above 0, those beyond `far` by their logarithm: the slope by log size is never more than `far`."""
    return torch.where(size > far, far + far * (size.clamp_min(1e-12) / far).log(), size)


@torch.no_grad()
def _remember_(passes: list[_Pass], rate: float) -> None:
    """Mean and variance of the last pass, or running ones."""
    for one in passes:
        layer, mean, variance = one.layer, one.mean.detach(), one.variance.detach()
        if rate < 1:
            variance = variance + (1 - rate) * (mean - layer.batch_mean).square()
            layer.batch_mean.lerp_(mean.to(layer.batch_mean.dtype), rate)
            layer.batch_variance.lerp_(variance.to(layer.batch_variance.dtype), rate)
        else:
            layer.batch_mean.copy_(mean)
            layer.batch_variance.copy_(variance)


def _running(passes: list[_Pass]) -> list[tuple[Tensor, Tensor]]:
    """Running statistics with the gradient of the batch's: of the variance about the running mean."""
    found = []
    for one in passes:
        mean, variance = one.layer.batch_mean.clone(), one.layer.batch_variance.clone()
        about = one.variance + (one.mean - mean).square()
        found.append((mean + (one.mean - one.mean.detach()), variance + (about - about.detach())))
    return found


@torch.no_grad()
def _clamp_(multipliers: list[Tensor], low: float) -> None:
    """Only what has left its bounds is written, so that two calls before one backward disturb nothing."""
    for multiplier in multipliers:
        if not torch.equal(bounded := multiplier.clamp(low, LIMIT), multiplier):
            multiplier.copy_(bounded)


def _diverged(passes: list[_Pass]) -> str:
    for one in passes:
        if not (torch.isfinite(one.mean).all() and torch.isfinite(one.variance).all()):
            return (
                f"mean or variance of what reaches {one.name} is no number: lower the rate, or start from "
                "initialise_norms_(model, inputs)"
            )
    return "a multiplier of a LagrangeNorm layer is no number: lower the rate of the optimizer that steps it"
