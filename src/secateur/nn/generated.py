"""Generated code behind the fused operators: which tensors it takes, and the calls with torch's tensors.

The rule: dense float32 in memory of a CPU that `kernels.target` has a row for. Anything else (float64, a GPU, another
processor) is the business of torch's own operators. The code runs on the calling thread and keeps no state, so the same
numbers give the same bits in every process of a machine; a fork or several Python threads change nothing.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from secateur.kernels.gate import Gate, gate_of
from secateur.kernels.levels import Levels, levels_of
from secateur.kernels.map_levels import MapLevels, MapWidths, map_levels_of
from secateur.kernels.moments import Moments, moments_of
from secateur.kernels.norm_penalty import ROW, SCRATCH, SIZES, NormPenalty, Table, norm_penalty_of, table_of
from secateur.kernels.norm_terms import Bounds, NormTerms, norm_terms_of
from secateur.kernels.rows import Numbers
from secateur.kernels.target import TARGETS, Target, supported
from secateur.kernels.value_levels import ValueLevels, value_levels_of

LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
"""Dimensions -> the memory format whose last axis in memory is that of channels. Two dimensions are so anyway."""


@functools.cache
def processor() -> Target | None:
    """The fastest vector extension of this machine that code is generated for; None where there is none."""
    found = supported()
    return TARGETS[found[0]] if found else None


def gate_for(w: Tensor, form: str) -> Gate | None:
    """The code for a weight; None where torch's operators have to do. The first call of a form on a machine compiles
    it."""
    target = _target_for(w)
    return gate_of(form, target) if target else None


def levels_for(x: Tensor, widths: list[int]) -> Levels | None:
    """As `gate_for`, of the average over bit widths."""
    target = _target_for(x)
    return levels_of(tuple(widths), target) if target else None


def value_levels_for(x: Tensor, widths: list[int]) -> ValueLevels | None:
    """As `gate_for`, of the average over grid values."""
    target = _target_for(x)
    return value_levels_of(tuple(widths), target) if target else None


def map_levels_for(x: Tensor, widths: list[int], *, signed: bool) -> MapLevels | None:
    """As `gate_for`, of feature maps."""
    target = _target_for(x)
    return map_levels_of(MapWidths(tuple(widths), signed), target) if target else None


class MomentsCode(NamedTuple):
    """Mean and variance and their gradient for one memory order, and the three sizes that the code takes."""

    forward: Any
    backward: Any
    sizes: tuple[int, int, int]


def moments_for(x: Tensor) -> MomentsCode | None:
    """As `gate_for`, of mean and variance: (batch, channels, ...) one channel after another, or channels last."""
    if _target_for(x) is None:
        return None
    code, (batch, channels, *positions) = _moments(), x.shape
    if positions and x.is_contiguous():
        return MomentsCode(code.by_channel_forward, code.by_channel_backward, (batch, channels, math.prod(positions)))
    if x.is_contiguous(memory_format=LAST.get(x.dim(), torch.contiguous_format)):
        return MomentsCode(code.last_forward, code.last_backward, (1, batch * math.prod(positions), channels))
    return None


def norm_terms_for(moments: Tensor, bounds: Bounds) -> NormTerms | None:
    """As `gate_for`, of what constraints cost."""
    return _norm_terms(bounds) if _target_for(moments) is not None else None


def gate_forward(gate: Gate, w: Tensor, alpha: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """w h(w), dense in the order of dimensions, and the sum of h."""
    w = w.contiguous()
    pruned = torch.empty_like(w)
    count = gate.forward((w.data_ptr(), pruned.data_ptr()), w.numel(), (_numbers(alpha), _numbers(k)))
    return pruned, torch.tensor(count, dtype=w.dtype)


def gate_backward(
    gate: Gate, gradients: tuple[Tensor, Tensor], w: Tensor, alpha: Tensor, k: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of w, alpha and k, each in its tensor's shape."""
    w, upstream = w.contiguous(), gradients[0].contiguous()
    w_grad = torch.empty_like(w)
    addresses = (w.data_ptr(), upstream.data_ptr(), w_grad.data_ptr())
    thresholds = _numbers(alpha), _numbers(k)
    toward_alpha, toward_k = gate.backward(addresses, w.numel(), thresholds, gradients[1].item())
    return w_grad, _shaped(toward_alpha, alpha), _shaped(toward_k, k)


def levels_forward(levels: Levels, x: Tensor, x_max: Tensor, p: Tensor) -> Tensor:
    """The average, dense in the order of dimensions."""
    x = x.contiguous()
    average = torch.empty_like(x)
    levels.forward((x.data_ptr(), average.data_ptr()), x.numel(), _numbers(x_max), p.tolist())
    return average


def levels_backward(levels: Levels, grad: Tensor, x: Tensor, x_max: Tensor, p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of x, x_max and p, each in its tensor's shape."""
    x, upstream = x.contiguous(), grad.contiguous()
    x_grad = torch.empty_like(x)
    addresses = (x.data_ptr(), upstream.data_ptr(), x_grad.data_ptr())
    ranges, shares = levels.backward(addresses, x.numel(), _numbers(x_max), p.tolist())
    return x_grad, _shaped(ranges, x_max), torch.tensor(shares, dtype=p.dtype)


def value_levels_forward(code: ValueLevels, x: Tensor, x_max: Tensor, weights: tuple[list[float], float]) -> Tensor:
    """The average, dense in the order of dimensions. weights: (shares, temperature)."""
    x = x.contiguous()
    average = torch.empty_like(x)
    code.forward((x.data_ptr(), average.data_ptr()), x.numel(), _numbers(x_max), weights)
    return average


def value_levels_backward(
    code: ValueLevels, flat: tuple[Tensor, Tensor], x_max: Tensor, p: Tensor, temperature: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of x, x_max and p, each in its tensor's shape, from (upstream, x)."""
    upstream, x = (one.contiguous() for one in flat)
    x_grad = torch.empty_like(x)
    addresses = (x.data_ptr(), upstream.data_ptr(), x_grad.data_ptr())
    ranges, shares = code.backward(addresses, x.numel(), _numbers(x_max), (p.tolist(), temperature))
    return x_grad, _shaped(ranges, x_max), torch.tensor(shares, dtype=p.dtype)


def map_levels_forward(code: MapLevels, flat: tuple[Tensor, Tensor], step: float, p: list[float]) -> None:
    """Writes the average to the second of (x, average), which lie alike and without gaps."""
    x, average = flat
    code.forward((x.data_ptr(), average.data_ptr()), x.numel(), step, p)


def map_levels_backward(
    code: MapLevels, flat: tuple[Tensor, Tensor, Tensor], step: float, p: list[float]
) -> tuple[Tensor, Tensor]:
    """Writes the gradient of x to the last of (x, upstream, x_grad), which lie alike and without gaps; gives those of
    the step and, in units of it, of the shares."""
    x, upstream, x_grad = flat
    addresses = (x.data_ptr(), upstream.data_ptr(), x_grad.data_ptr())
    toward_step, shares = code.backward(addresses, x.numel(), step, p)
    return torch.tensor(toward_step), torch.tensor(shares)


def norm_terms(code: NormTerms, numbers: tuple[Tensor, ...]) -> tuple[float, Tensor]:
    """The sum of the terms of (moments, multipliers, wanted, weights), which lie without gaps in one shape, and the
    gradients of the first two, (2, *shape)."""
    size = numbers[0].numel()
    found = torch.empty(2, *numbers[0].shape)
    place = found.data_ptr()
    moments, multipliers, wanted, weights = (one.data_ptr() for one in numbers)
    return code((moments, multipliers, wanted, weights, place, place + 4 * size), size), found


NONE = [0] * (SIZES.stop - SIZES.start)


class NormCall(NamedTuple):
    """What the penalty of a network was computed from, for its gradients: rows of layers and their table, the code,
    what is wanted and weights."""

    rows: list[int]
    layers: Table
    code: NormPenalty
    constants: tuple[Tensor, Tensor]


def norm_penalty(
    inputs: Sequence[Tensor], multipliers: Sequence[Tensor], constants: tuple[Tensor, Tensor], code: NormPenalty
) -> tuple[float, Tensor, NormCall] | None:
    """The penalty of layers with these inputs and multipliers, in one call; moments, (numbers,); and what
    `norm_gradients` and `norm_added` take. None where a tensor is not for generated code.

    constants: what is wanted, and weights, (numbers,) float32: a block of (2, channels) a layer, as the results are.
    """
    rows: list[int] = []
    for x, m in zip(inputs, multipliers, strict=True):
        if x.dtype != torch.float32 or m.dtype != torch.float32 or not (x.is_cpu and m.is_contiguous()):
            return None
        shape = x.shape
        channels = shape[1]
        if len(shape) > 2 and x.is_contiguous():
            batch = shape[0]
            rows += (x.data_ptr(), m.data_ptr(), 0, 0, batch, channels, x.numel() // (batch * channels), channels)
        elif x.is_contiguous(memory_format=LAST.get(len(shape), torch.contiguous_format)):
            rows += (x.data_ptr(), m.data_ptr(), 0, 1, 1, x.numel() // channels, channels, channels)
        else:
            return None
    wanted, weights = constants
    size = wanted.numel()
    moments, room = torch.empty(size), torch.empty(2 * size)
    place, call = room.data_ptr(), NormCall(rows, table_of(rows), code, constants)
    blocks = (wanted.data_ptr(), weights.data_ptr(), moments.data_ptr(), place, place + 4 * size)
    return code.penalty(call.layers, blocks), moments, call


def norm_gradients(
    call: NormCall, inputs: Sequence[Tensor | None], moments: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor, list[Tensor | None]]:
    """Times a number, the gradients of a `norm_penalty` in moments and multipliers, (numbers,), and in those inputs
    that are given here, in one call."""
    rows = call.rows[:]
    pulls: list[Tensor | None] = []
    for place, x in zip(range(0, len(rows), len(ROW)), inputs, strict=True):
        if x is None:
            rows[place + SIZES.start : place + SIZES.stop] = NONE
            pulls.append(None)
        else:
            pull = torch.empty_like(x)
            rows[place + 2] = pull.data_ptr()
            pulls.append(pull)
    slope, ascent = torch.empty_like(moments), torch.empty_like(moments)
    wanted, weights = call.constants
    blocks = wanted.data_ptr(), weights.data_ptr(), moments.data_ptr(), scale.data_ptr()
    call.code.gradients(table_of(rows), (*blocks, slope.data_ptr(), ascent.data_ptr()))
    return slope, ascent, pulls


def norm_added(call: NormCall, layer: int, start: int, both: tuple[Tensor, Tensor]) -> None:
    """Adds to the gradient of one input what the penalty pulls it by, from the input alone. start: of the layer's block
    in the rows of all; both: the gradient, which lies as the input does, and that of the penalty, a number."""
    x_grad, scale = both
    wanted, weights = call.constants
    scratch = torch.empty(SCRATCH * x_grad.shape[1])
    place = 4 * start
    addresses = (wanted.data_ptr() + place, weights.data_ptr() + place, scale.data_ptr(), scratch.data_ptr())
    call.code.added(call.layers, layer, (*addresses, x_grad.data_ptr()))


def norm_penalty_for(bounds: Bounds) -> NormPenalty | None:
    """The code for a network whose tensors `norm_penalty` takes; None where no code is generated."""
    return None if processor() is None else _norm_penalty(bounds)


@functools.cache
def _moments() -> Moments:
    return moments_of(_known())


@functools.cache
def _norm_penalty(bounds: Bounds) -> NormPenalty:
    return norm_penalty_of(bounds, _known())


@functools.cache
def _norm_terms(bounds: Bounds) -> NormTerms:
    return norm_terms_of(bounds, _known())


def _known() -> Target:
    target = processor()
    assert target is not None
    return target


def _target_for(weight: Tensor) -> Target | None:
    return processor() if weight.device.type == "cpu" and weight.dtype == torch.float32 else None


def _numbers(thresholds: Tensor) -> Numbers:
    if thresholds.numel() == 1:
        return float(thresholds.item())
    return thresholds.detach().double().reshape(-1).numpy()


def _shaped(found: Numbers, like: Tensor) -> Tensor:
    """One number or one a row in the shape of thresholds or ranges; their sum where all rows share it."""
    if isinstance(found, np.ndarray) and like.numel() > 1:
        return torch.from_numpy(found).to(like.dtype).view(like.shape)
    one = found if isinstance(found, float) else float(np.sum(found))
    return torch.full(like.shape, one, dtype=like.dtype)
