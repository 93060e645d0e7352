"""norm_penalty(): what the constraints of a model's LagrangeNorm layers add to the loss.

One function of autograd for a whole network: at batch 1 a training step is as long as its calls. Moments, terms and
their gradients are generated code where there is some (`norms.moments`, `norms.terms`, which has the formulas).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from secateur.errors import PlanError, TrainingError
from secateur.nn.norms.lagrange_norm import LagrangeNorm
from secateur.nn.norms.moments import moments_pull, write_moments
from secateur.nn.norms.terms import terms

SMALL = 1 << 14
"""Elements of an input whose pull is made at once with all others: 64 KiB cost less than a call of their own."""
MOMENTUM = 0.05
"""Of running statistics, a forward pass."""


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
    passes = [(layer, x) for layer in layers.values() for x in layer.take()]
    if not passes:
        raise PlanError("no forward pass in training since the last norm_penalty: model.train(), model(x), then this")
    alike: dict[tuple[Any, ...], list[tuple[LagrangeNorm, Tensor]]] = {}
    for layer, x in passes:
        alike.setdefault((layer.mode, x.device, _wide(x.dtype)), []).append((layer, x))
    parts = [_penalty(found, *kind) for kind, found in alike.items()]
    total = parts[0] if len(parts) == 1 else torch.stack(parts).sum()
    if not math.isfinite(total.item()):
        raise TrainingError(_diverged(layers, passes))
    return total


def _wide(dtype: torch.dtype) -> torch.dtype:
    """Of statistics: float32 at least."""
    return dtype if dtype in (torch.float32, torch.float64) else torch.float32


def _penalty(passes: Sequence[tuple[LagrangeNorm, Tensor]], mode: str, device: torch.device, dtype: Any) -> Tensor:
    layers = [layer for layer, _ in passes]
    kinds = tuple([(layer.channels, layer.rho, layer.variance) for layer in layers])
    weights, wanted, starts = _constants(kinds, dtype, device)
    if any(layer.log_variance is not None for layer in layers):
        wanted = torch.cat([_wanted(layer, wanted) for layer in layers], 1)
    multipliers, inputs = [layer.multipliers for layer in layers], [x for _, x in passes]
    pulls = _Pulls(starts)
    for index, x in enumerate(inputs):
        if x.requires_grad and x.numel() > SMALL:
            x.register_hook(functools.partial(pulls, index))
    return _Penalty.apply(_Group(layers, mode, weights, starts), pulls, wanted, *multipliers, *inputs)


@dataclass(frozen=True)
class _Group:
    """Passes of layers of one mode, the channels of all in a row: r of each constraint, (2, channels), and the first
    channel of each layer."""

    layers: Sequence[LagrangeNorm]
    mode: str
    weights: Tensor
    starts: Sequence[int]


class _Pulls:
    """Adds to the gradient of every large input what the penalty pulls it by, when the backward pass comes by its
    layer: all pulls at once would be as large as all inputs together."""

    def __init__(self, starts: Sequence[int]) -> None:
        self.starts = starts
        self.held: tuple[Tensor, Tensor, list[Tensor | None]] | None = None

    def begin(self, moments: Tensor, slope: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The pulls of small inputs, and 0 in every place for the others, whose hooks act from here to the end of this
        backward pass: other passes through the same inputs leave them alone."""
        large: list[Tensor | None] = [x if x.numel() > SMALL else None for x in inputs]
        if any(x is not None for x in large):
            self.held = moments, slope, large
            torch.autograd.Variable._execution_engine.queue_callback(self.end)
        return [
            moments_pull(x, moments, slope, start) if one is None else x.new_zeros(()).expand_as(x)
            for x, one, start in zip(inputs, large, self.starts, strict=True)
        ]

    def end(self) -> None:
        """Nothing is held, so that inputs and their hooks do not keep one another alive."""
        self.held = None

    def __call__(self, index: int, gradient: Tensor) -> Tensor | None:
        """The hook of an input."""
        if self.held is None:
            return None
        moments, slope, inputs = self.held
        x, inputs[index] = inputs[index], None
        assert x is not None
        return moments_pull(x, moments, slope, self.starts[index]).add_(gradient)


@functools.lru_cache(64)
def _constants(
    kinds: tuple[tuple[int, float, float], ...], dtype: Any, device: Any
) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """r and what is wanted, (2, channels) each, and where layers with (channels, rho, s) start."""
    weights = [rho / channels for channels, rho, _ in kinds for _ in range(channels)]
    wanted = [s for channels, _, s in kinds for _ in range(channels)]
    starts = tuple(itertools.accumulate((channels for channels, *_ in kinds[:-1]), initial=0))
    rows = [weights, weights], [[0.0] * len(wanted), wanted]
    first, second = (torch.tensor(row, dtype=dtype, device=device) for row in rows)
    return first, second, starts


def _wanted(layer: LagrangeNorm, like: Tensor) -> Tensor:
    variance = torch.as_tensor(layer.wanted_variance(), dtype=like.dtype, device=like.device).expand(layer.channels)
    return torch.stack([torch.zeros_like(variance), variance])


class _Penalty(torch.autograd.Function):
    """(group, pulls, wanted, multipliers of every pass..., input of every pass...) -> the penalty."""

    @staticmethod
    def forward(ctx: Any, group: _Group, pulls: _Pulls, wanted: Tensor, *both: Tensor) -> Tensor:
        """All gradients but those of the inputs are there with the value."""
        count = len(group.layers)
        moments = torch.empty_like(wanted)
        for x, start in zip(both[count:], group.starts, strict=True):
            write_moments(x, moments, start)
        numbers = (moments, torch.cat(both[:count], 1).to(wanted.dtype), wanted, group.weights)
        if group.mode == "running":
            value, gradients = _running_terms(group, numbers)
        else:
            value, gradients = terms(numbers, squared=group.mode == "squared")
        ctx.pulls, ctx.like = pulls, [(one.shape[1], one.dtype) for one in both[:count]]
        ctx.save_for_backward(moments, gradients, *both[count:])
        return moments.new_tensor(value)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """As they were computed, scaled."""
        if torch.is_grad_enabled():
            raise TrainingError(
                "norm_penalty has no second derivative: leave it out of what is differentiated with create_graph=True"
            )
        moments, gradients, *inputs = ctx.saved_tensors
        if grad_outputs[0].item() != 1:
            gradients = gradients * grad_outputs[0]
        slope, ascent = gradients.unbind()
        parts = ascent.split([channels for channels, _ in ctx.like], 1)
        ascents = [part.to(dtype) for part, (_, dtype) in zip(parts, ctx.like, strict=True)]
        return (
            None,
            None,
            -slope if ctx.needs_input_grad[2] else None,
            *ascents,
            *ctx.pulls.begin(moments, slope, inputs),
        )


def _running_terms(group: _Group, numbers: tuple[Tensor, ...]) -> tuple[float, Tensor]:
    """The terms of running statistics, which these passes change, with gradients in the batch's moments: in the
    variance about the running mean."""
    moments, multipliers, wanted, weights = numbers
    statistics = torch.empty_like(moments)
    for layer, start in zip(group.layers, group.starts, strict=True):
        mean, variance = moments[:, start : start + layer.channels]
        off = (mean - layer.batch_mean).square_().mul_(1 - MOMENTUM)
        layer.batch_mean.lerp_(mean.to(layer.batch_mean.dtype), MOMENTUM)
        layer.batch_variance.lerp_((variance + off).to(layer.batch_variance.dtype), MOMENTUM)
        statistics[:, start : start + layer.channels] = torch.stack([layer.batch_mean, layer.batch_variance])
    value, gradients = terms((statistics, multipliers, wanted, weights), squared=False)
    gradients[0, 0] += 2 * gradients[0, 1] * (moments[0] - statistics[0])
    return value, gradients


def _diverged(layers: dict[str, LagrangeNorm], passes: Sequence[tuple[LagrangeNorm, Tensor]]) -> str:
    names = {id(layer): name for name, layer in layers.items()}
    for layer, x in passes:
        moments = torch.empty(2, layer.channels, dtype=_wide(x.dtype), device=x.device)
        write_moments(x.detach(), moments, 0)
        if not torch.isfinite(moments).all():
            return (
                f"mean or variance of what reaches {names[id(layer)]} is no number: lower the rate, or start from "
                "initialise_norms_(model, inputs)"
            )
    return "a multiplier of a LagrangeNorm layer is no number: lower the rate of the optimizer that steps it"
