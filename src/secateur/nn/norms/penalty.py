"""norm_penalty(): what the constraints of a model's LagrangeNorm layers add to the loss.

One function of autograd for a whole network: at batch 1 a training step is as long as its calls. Moments, terms and
their gradients are one call of generated code where there is some (`norms.moments`, `norms.terms`, which has the
formulas). Numbers of all layers lie in a row, a block of (2, channels) a layer: of means, then of variances.

What the penalty pulls inputs by would be as large as all of them together. So small ones get it at once, in one call;
to the gradients of others it is added in place when the backward pass comes by their layer, and nothing is kept for
that but the input.
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
from secateur.nn.generated import NormCall, norm_added, norm_gradients, norm_penalty_for
from secateur.nn.generated import norm_penalty as generated_penalty
from secateur.nn.norms.lagrange_norm import LagrangeNorm
from secateur.nn.norms.moments import moments_pull, write_moments
from secateur.nn.norms.terms import BOUNDS, terms

SMALL, AT_ONCE = 1 << 13, 1 / 3
"""Inputs get their pulls at once that have at most so many elements, the smallest first, while they are together at
most this share of all: it takes less time than a call a layer, and less memory than what the peak leaves free."""
MISSING = (
    "no forward pass in training since the last norm_penalty: model.train(), model(x), then this. Under "
    "torch.utils.checkpoint with use_reentrant=True none can be seen: use_reentrant=False"
)
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
        alike.setdefault((layer.mode, x.dtype, x.device), []).append((layer, x))
    parts = [_penalty(found) for found in alike.values()]
    if not math.isfinite(sum([value for _, value in parts])):
        raise TrainingError(_diverged(lagrange_norms(model), passes))
    total = parts[0][0] if len(parts) == 1 else torch.stack([part for part, _ in parts]).sum()
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


def _penalty(passes: Sequence[tuple[LagrangeNorm, Tensor]]) -> tuple[Tensor, float]:
    """Of passes of one mode, dtype and device; and as a number."""
    kinds: list[tuple[int, float, float]] = []
    multipliers: list[Tensor] = []
    trained = False
    for layer, _ in passes:
        kinds.append((layer.channels, layer.rho, layer.variance))
        multipliers.append(layer.multipliers)
        trained = trained or layer.log_variance is not None
    inputs = [x for _, x in passes]
    layout = _layout(tuple(kinds), _wide(inputs[0].dtype), inputs[0].device)
    wanted = torch.cat([_wanted(layer, layout.wanted) for layer, _ in passes]) if trained else layout.wanted
    large = _large(tuple([x.numel() for x in inputs]), SMALL, AT_ONCE)
    pulls = _Pulls(passes, layout, large)
    for index in large:
        if inputs[index].requires_grad:
            inputs[index].register_hook(functools.partial(pulls, index))
    return _Penalty.apply(pulls, wanted, *multipliers, *inputs), pulls.value


@functools.lru_cache(64)
def _large(sizes: tuple[int, ...], most: int, share: float) -> tuple[int, ...]:
    """Which inputs of these sizes do not get their pulls at once."""
    left, found = share * sum(sizes), []
    for size, index in sorted(zip(sizes, range(len(sizes)), strict=True)):
        left -= size
        if left < 0 or size > most:
            found.append(index)
    return tuple(found)


_Block = tuple[int, int]
"""Where a layer's numbers begin in a row of all, and its channels, of each of which there are two."""


def _of(block: _Block, row: Tensor) -> Tensor:
    """A layer's numbers, (2, channels)."""
    start, channels = block
    return row.as_strided((2, channels), (channels, 1), row.storage_offset() + start)


@dataclass(frozen=True)
class _Layout:
    """r of each constraint and what is wanted in a row, and each layer's block."""

    weights: Tensor
    wanted: Tensor
    blocks: Sequence[_Block]


@functools.lru_cache(64)
def _layout(kinds: tuple[tuple[int, float, float], ...], dtype: Any, device: Any) -> _Layout:
    """Of layers with (channels, rho, s)."""
    weights = [rho / channels for channels, rho, _ in kinds for _ in range(2 * channels)]
    wanted = [number for channels, _, s in kinds for number in (0.0, s) for _ in range(channels)]
    starts = itertools.accumulate((2 * channels for channels, *_ in kinds[:-1]), initial=0)
    blocks = tuple((start, channels) for start, (channels, *_) in zip(starts, kinds, strict=True))
    first, second = (torch.tensor(row, dtype=dtype, device=device) for row in (weights, wanted))
    return _Layout(first, second, blocks)


class _Pulls:
    """The penalty of passes of one mode, and what it pulls their inputs by: at once where they are small, and in place
    from `begin` on to the end of that backward pass, when it comes by a large one; other backward passes through the
    same inputs leave them alone."""

    def __init__(self, passes: Sequence[tuple[LagrangeNorm, Tensor]], layout: _Layout, large: Sequence[int]) -> None:
        self.layers, self.layout, self.large = [layer for layer, _ in passes], layout, large
        self.value = math.nan
        self.call: NormCall | None = None
        self.scale: Tensor | None = None
        self.held: dict[int, Tensor] = {}
        self.numbers: Sequence[Tensor] = ()
        self.kept: list[int] = []

    def begin(self, scale: Tensor, numbers: Sequence[Tensor], inputs: Sequence[Tensor]) -> list[Tensor | None]:
        """Hooks of large inputs act from here on, with numbers that are kept for them. Gives the small inputs."""
        self.kept = [layer.kept() for layer in self.layers]
        torch.autograd.Variable._execution_engine.queue_callback(self.end)
        if not self.large:
            return list(inputs)
        self.scale, self.numbers, small = scale, numbers, list[Tensor | None](inputs)
        for index in self.large:
            self.held[index], small[index] = inputs[index], None
        return small

    def end(self) -> None:
        """Nothing is held, so that inputs and their hooks do not keep one another alive; and layers forget what the
        backward pass computed again."""
        self.scale, self.numbers = None, ()
        self.held.clear()
        for layer, count in zip(self.layers, self.kept, strict=True):
            layer.keep_first(count)

    def __call__(self, index: int, gradient: Tensor) -> Tensor | None:
        """The hook of an input. Its gradient is a sum with the 0 that the penalty gave: a tensor of its own."""
        if self.scale is None:
            return None
        x, block = self.held.pop(index), self.layout.blocks[index]
        if self.call is None:
            return moments_pull(x, *(_of(block, row) for row in self.numbers)).add_(gradient)
        if gradient.stride() != x.stride():
            gradient = torch.empty_like(x).copy_(gradient)
        norm_added(self.call, index, block[0], (gradient, self.scale))
        return gradient


def _wanted(layer: LagrangeNorm, like: Tensor) -> Tensor:
    variance = torch.as_tensor(layer.wanted_variance(), dtype=like.dtype, device=like.device).expand(layer.channels)
    return torch.cat([torch.zeros_like(variance), variance])


class _Penalty(torch.autograd.Function):
    """(pulls, wanted, multipliers of every pass..., input of every pass...) -> the penalty."""

    @staticmethod
    def forward(ctx: Any, pulls: _Pulls, wanted: Tensor, *both: Tensor) -> Tensor:
        """By generated code, which keeps moments, or by torch, which keeps their gradients and those of multipliers."""
        ctx.pulls, mode, found = pulls, pulls.layers[0].mode, None
        count = len(pulls.layers)
        multipliers, inputs = both[:count], both[count:]
        if mode != "running" and (code := norm_penalty_for(BOUNDS[mode == "squared"])) is not None:
            found = generated_penalty(inputs, multipliers, (wanted, pulls.layout.weights), code)
        if found is not None:
            pulls.value, moments, pulls.call = found
            ctx.save_for_backward(moments, *both)
        else:
            pulls.value, *numbers = _by_layer(pulls, wanted, multipliers, inputs)
            ctx.dtypes = [one.dtype for one in multipliers]
            ctx.save_for_backward(*numbers, *inputs)
        return torch.scalar_tensor(pulls.value, dtype=wanted.dtype, device=wanted.device)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """Of multipliers, and of inputs but for what hooks will add."""
        if torch.is_grad_enabled():
            raise TrainingError(
                "norm_penalty has no second derivative: leave it out of what is differentiated with create_graph=True"
            )
        (scale,), saved, pulls = grad_outputs, ctx.saved_tensors, ctx.pulls
        count, blocks = len(pulls.layers), pulls.layout.blocks
        inputs = saved[-count:]
        if pulls.call is not None:
            small = pulls.begin(scale, saved[1 : count + 1], inputs)  # multipliers, whose places the code knows
            slope, ascent, found = norm_gradients(pulls.call, small, saved[0], scale)
            ascents = [_of(block, ascent) for block in blocks]
        else:
            moments, slope, ascent = saved[0], saved[1] * scale, saved[2] * scale
            small = pulls.begin(scale, (moments, slope), inputs)
            each = zip(small, blocks, strict=True)
            found = [None if x is None else moments_pull(x, _of(one, moments), _of(one, slope)) for x, one in each]
            ascents = [_of(block, ascent).to(dtype) for block, dtype in zip(blocks, ctx.dtypes, strict=True)]
        if pulls.large:
            zero = inputs[0].new_zeros(())
            for index in pulls.large:
                found[index] = zero.expand(inputs[index].shape)
        return None, -slope if ctx.needs_input_grad[1] else None, *ascents, *found


def _by_layer(
    pulls: _Pulls, wanted: Tensor, multipliers: Sequence[Tensor], inputs: Sequence[Tensor]
) -> tuple[float, Tensor, Tensor, Tensor]:
    """The value, moments, their gradients and those of multipliers."""
    moments = torch.empty_like(wanted)
    for x, block in zip(inputs, pulls.layout.blocks, strict=True):
        write_moments(x, _of(block, moments))
    m = torch.cat([one.reshape(-1) for one in multipliers]).to(wanted.dtype)
    numbers, mode = (moments, m, wanted, pulls.layout.weights), pulls.layers[0].mode
    if mode == "running":
        value, gradients = _running_terms(pulls, numbers)
    else:
        value, gradients = terms(numbers, squared=mode == "squared")
    return value, moments, gradients[0], gradients[1]


def _running_terms(pulls: _Pulls, numbers: tuple[Tensor, ...]) -> tuple[float, Tensor]:
    """The terms of running statistics, which these passes change, with gradients in the batch's moments: in the
    variance about the running mean."""
    moments, multipliers, wanted, weights = numbers
    statistics = torch.empty_like(moments)
    for layer, block in zip(pulls.layers, pulls.layout.blocks, strict=True):
        mean, variance = _of(block, moments)
        off = (mean - layer.batch_mean).square_().mul_(1 - MOMENTUM)
        layer.batch_mean.lerp_(mean.to(layer.batch_mean.dtype), MOMENTUM)
        layer.batch_variance.lerp_((variance + off).to(layer.batch_variance.dtype), MOMENTUM)
        _of(block, statistics).copy_(torch.stack([layer.batch_mean, layer.batch_variance]))
    value, gradients = terms((statistics, multipliers, wanted, weights), squared=False)
    for block in pulls.layout.blocks:
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
