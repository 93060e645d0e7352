"""norm_penalty(): what the constraints of a model's LagrangeNorm layers add to the loss.

One function of autograd for a whole network: at batch 1 a training step is as long as its calls. Moments, terms and
their gradients are one call of generated code where there is some (`norms.moments`, `norms.terms`, which has the
formulas). Numbers of all layers lie in a row, a block of (2, channels) a layer: of means, then of variances.
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
from secateur.nn.generated import NormCall, norm_pulls
from secateur.nn.norms.lagrange_norm import LagrangeNorm
from secateur.nn.norms.moments import moments_pull, write_moments
from secateur.nn.norms.terms import penalty_of, terms

SMALL = 1 << 14
"""Elements of an input whose pull is made at once with all others: 64 KiB cost less than a call of their own."""
MISSING = "no forward pass in training since the last norm_penalty: model.train(), model(x), then this"
MOMENTUM = 0.05
"""Of running statistics, a forward pass."""


def lagrange_norms(model: nn.Module) -> dict[str, LagrangeNorm]:
    """The layers by name, in the order of modules."""
    return {name: module for name, module in model.named_modules() if isinstance(module, LagrangeNorm)}


def norm_penalty(model: nn.Module, *, step: int = 0, every: int = 1) -> Tensor:
    """The term to add to the loss of the forward pass before it, a scalar: loss = task + norm_penalty(model).

    step    which of the steps of training this is, where the penalty is not in all of them
    every   in every so many steps, those that it divides, the penalty is there so many times; 0 in the others, which
            take less time (lazy regularization, Karras et al. 2020, "Analyzing and Improving the Image Quality of
            StyleGAN", section 3.1)

    Of several forward passes since the last call, their sum. Where gradients are accumulated, call it for every part
    and divide it as the loss is divided; under mixed precision scale it with the loss; each process of a data-parallel
    run has its own. PlanError where there is no LagrangeNorm, or no forward pass in training; TrainingError where a
    layer's mean or variance is no number, with its name.
    """
    if every < 1:
        raise PlanError(f"every={every}: the penalty is in every step (1), every second, ...")
    layers = _layers(model)
    if not layers:
        raise PlanError("the model has no LagrangeNorm layer: swap_norms_(model, 'lagrange', example) puts them in")
    if step % every:
        return _dropped(layers)
    passes = [(layer, x) for layer in layers for x in layer.take()]
    if not passes:
        raise PlanError(MISSING)
    alike: dict[tuple[Any, ...], list[tuple[LagrangeNorm, Tensor]]] = {}
    for layer, x in passes:
        alike.setdefault((layer.mode, x.device, _wide(x.dtype)), []).append((layer, x))
    parts = [_penalty(found, *kind) for kind, found in alike.items()]
    total = parts[0] if len(parts) == 1 else torch.stack(parts).sum()
    if not math.isfinite(total.item()):
        raise TrainingError(_diverged(lagrange_norms(model), passes))
    return total if every == 1 else total * every


def _dropped(layers: Sequence[LagrangeNorm]) -> Tensor:
    """0, in a step without penalty: what layers have kept is not needed."""
    kept = [x for layer in layers for x in layer.take()]
    if not kept:
        raise PlanError(MISSING)
    return torch.zeros((), dtype=_wide(kept[0].dtype), device=kept[0].device)


def _layers(model: nn.Module) -> list[LagrangeNorm]:
    """As `lagrange_norms`, without names, which take longer than the penalty."""
    found = [model] if isinstance(model, LagrangeNorm) else []
    left = [model]
    while left:
        for module in left.pop()._modules.values():
            if isinstance(module, LagrangeNorm):
                found.append(module)
            elif module is not None and module._modules:
                left.append(module)
    return found


def _wide(dtype: torch.dtype) -> torch.dtype:
    """Of statistics: float32 at least."""
    return dtype if dtype in (torch.float32, torch.float64) else torch.float32


def _penalty(passes: Sequence[tuple[LagrangeNorm, Tensor]], mode: str, device: torch.device, dtype: Any) -> Tensor:
    layers = [layer for layer, _ in passes]
    kinds = tuple([(layer.channels, layer.rho, layer.variance) for layer in layers])
    weights, wanted, blocks = _constants(kinds, dtype, device)
    if any(layer.log_variance is not None for layer in layers):
        wanted = torch.cat([_wanted(layer, wanted) for layer in layers])
    multipliers, inputs = [layer.multipliers for layer in layers], [x for _, x in passes]
    pulls = _Pulls(blocks)
    for index, x in enumerate(inputs):
        if x.requires_grad and x.numel() > SMALL:
            x.register_hook(functools.partial(pulls, index))
    return _Penalty.apply(_Group(layers, mode, weights, blocks), pulls, wanted, *multipliers, *inputs)


_Block = tuple[int, int]
"""Where a layer's numbers begin in a row of all, and its channels, of each of which there are two."""


def _of(block: _Block, row: Tensor) -> Tensor:
    """A layer's numbers, (2, channels)."""
    start, channels = block
    return row.as_strided((2, channels), (channels, 1), row.storage_offset() + start)


@dataclass(frozen=True)
class _Group:
    """Passes of layers of one mode; r of each constraint, and each layer's block."""

    layers: Sequence[LagrangeNorm]
    mode: str
    weights: Tensor
    blocks: Sequence[_Block]


class _Pulls:
    """Adds to the gradient of every large input what the penalty pulls it by, when the backward pass comes by its
    layer: all pulls at once would be as large as all inputs together."""

    def __init__(self, blocks: Sequence[_Block]) -> None:
        self.blocks = blocks
        self.call: NormCall | None = None
        self.held: tuple[Tensor, Tensor, list[Tensor | None]] | None = None

    def begin(self, moments: Tensor, slope: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The pulls of small inputs, and 0 in every place for the others, whose hooks act from here to the end of this
        backward pass: other passes through the same inputs leave them alone."""
        large = [x.numel() > SMALL for x in inputs]
        if any(large):
            self.held = moments, slope, [x if big else None for x, big in zip(inputs, large, strict=True)]
            torch.autograd.Variable._execution_engine.queue_callback(self.end)
        elif self.call is not None:
            return norm_pulls(self.call, inputs, moments, slope)
        return [
            x.new_zeros(()).expand_as(x) if big else moments_pull(x, _of(block, moments), _of(block, slope))
            for x, big, block in zip(inputs, large, self.blocks, strict=True)
        ]

    def end(self) -> None:
        """Nothing is held, so that inputs and their hooks do not keep one another alive."""
        self.held = None

    def __call__(self, index: int, gradient: Tensor) -> Tensor | None:
        """The hook of an input."""
        if self.held is None:
            return None
        moments, slope, inputs = self.held
        x, inputs[index], block = inputs[index], None, self.blocks[index]
        assert x is not None
        return moments_pull(x, _of(block, moments), _of(block, slope)).add_(gradient)


@functools.lru_cache(64)
def _constants(
    kinds: tuple[tuple[int, float, float], ...], dtype: Any, device: Any
) -> tuple[Tensor, Tensor, tuple[_Block, ...]]:
    """r and what is wanted in a row, and the blocks of layers with (channels, rho, s)."""
    weights = [rho / channels for channels, rho, _ in kinds for _ in range(2 * channels)]
    wanted = [number for channels, _, s in kinds for number in (0.0, s) for _ in range(channels)]
    starts = itertools.accumulate((2 * channels for channels, *_ in kinds[:-1]), initial=0)
    blocks = tuple((start, channels) for start, (channels, *_) in zip(starts, kinds, strict=True))
    first, second = (torch.tensor(row, dtype=dtype, device=device) for row in (weights, wanted))
    return first, second, blocks


def _wanted(layer: LagrangeNorm, like: Tensor) -> Tensor:
    variance = torch.as_tensor(layer.wanted_variance(), dtype=like.dtype, device=like.device).expand(layer.channels)
    return torch.cat([torch.zeros_like(variance), variance])


class _Penalty(torch.autograd.Function):
    """(group, pulls, wanted, multipliers of every pass..., input of every pass...) -> the penalty."""

    @staticmethod
    def forward(ctx: Any, group: _Group, pulls: _Pulls, wanted: Tensor, *both: Tensor) -> Tensor:
        """All gradients but those of the inputs are there with the value."""
        count = len(group.layers)
        multipliers, inputs = both[:count], both[count:]
        found = None
        if group.mode != "running":
            found = penalty_of(inputs, multipliers, (wanted, group.weights), squared=group.mode == "squared")
        value, numbers, pulls.call = found or _by_layer(group, wanted, multipliers, inputs)
        ctx.pulls, ctx.like = pulls, [(block, one.dtype) for block, one in zip(group.blocks, multipliers, strict=True)]
        ctx.save_for_backward(numbers, *inputs)
        return numbers.new_tensor(value)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """As they were computed, scaled."""
        if torch.is_grad_enabled():
            raise TrainingError(
                "norm_penalty has no second derivative: leave it out of what is differentiated with create_graph=True"
            )
        numbers, *inputs = ctx.saved_tensors
        moments, slope, ascent = numbers.unbind()
        if grad_outputs[0].item() != 1:
            slope, ascent = slope * grad_outputs[0], ascent * grad_outputs[0]
        ascents = [_of(block, ascent).to(dtype) for block, dtype in ctx.like]
        return (
            None,
            None,
            -slope if ctx.needs_input_grad[2] else None,
            *ascents,
            *ctx.pulls.begin(moments, slope, inputs),
        )


def _by_layer(
    group: _Group, wanted: Tensor, multipliers: Sequence[Tensor], inputs: Sequence[Tensor]
) -> tuple[float, Tensor, None]:
    """The value, and moments, their gradients and those of multipliers in three rows."""
    moments = torch.empty_like(wanted)
    for x, block in zip(inputs, group.blocks, strict=True):
        write_moments(x, _of(block, moments))
    m = torch.cat([one.reshape(-1) for one in multipliers]).to(wanted.dtype)
    numbers = (moments, m, wanted, group.weights)
    if group.mode == "running":
        value, gradients = _running_terms(group, numbers)
    else:
        value, gradients = terms(numbers, squared=group.mode == "squared")
    return value, torch.cat([moments[None], gradients]), None


def _running_terms(group: _Group, numbers: tuple[Tensor, ...]) -> tuple[float, Tensor]:
    """The terms of running statistics, which these passes change, with gradients in the batch's moments: in the
    variance about the running mean."""
    moments, multipliers, wanted, weights = numbers
    statistics = torch.empty_like(moments)
    for layer, block in zip(group.layers, group.blocks, strict=True):
        mean, variance = _of(block, moments)
        off = (mean - layer.batch_mean).square_().mul_(1 - MOMENTUM)
        layer.batch_mean.lerp_(mean.to(layer.batch_mean.dtype), MOMENTUM)
        layer.batch_variance.lerp_((variance + off).to(layer.batch_variance.dtype), MOMENTUM)
        _of(block, statistics).copy_(torch.stack([layer.batch_mean, layer.batch_variance]))
    value, gradients = terms((statistics, multipliers, wanted, weights), squared=False)
    for block in group.blocks:
        slope, apart = _of(block, gradients[0]), _of(block, moments)[0] - _of(block, statistics)[0]
        slope[0] += 2 * slope[1] * apart
    return value, gradients


def _diverged(layers: dict[str, LagrangeNorm], passes: Sequence[tuple[LagrangeNorm, Tensor]]) -> str:
    names = {id(layer): name for name, layer in layers.items()}
    for layer, x in passes:
        moments = torch.empty(2, layer.channels, dtype=_wide(x.dtype), device=x.device)
        write_moments(x.detach(), moments)
        if not torch.isfinite(moments).all():
            return (
                f"mean or variance of what reaches {names[id(layer)]} is no number: lower the rate, or start from "
                "initialise_norms_(model, inputs)"
            )
    return "a multiplier of a LagrangeNorm layer is no number: lower the rate of the optimizer that steps it"
