"""The weighted average over grid values as two torch operators, forward and backward.

Source: US20200293893A1, US20230004813A1; formulas (our reading) in `secateur.maths.value_grid`, of each grid the
NEAREST values alone, as `kernels.value_levels` has them. Between forward and backward nothing is stored but x.
Generated code is used where `nn.generated` says so; elsewhere torch's own operators, over cache-sized pieces.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from secateur.kernels.value_levels import REACH
from secateur.nn.generated import value_levels_backward, value_levels_for, value_levels_forward
from secateur.nn.pieces import LIBRARY, gathered, pieces
from secateur.nn.width_units import shares_of, unit_of

LIBRARY.define("weighted_values(Tensor x, Tensor x_max, Tensor p, Tensor temperature, int[] widths) -> Tensor")
LIBRARY.define(
    "weighted_values_backward(Tensor grad, Tensor x, Tensor x_max, Tensor p, Tensor temperature, int[] widths) "
    "-> (Tensor, Tensor, Tensor)"
)


def weighted_values(x: Tensor, x_max: Tensor, p: Tensor, temperature: Tensor, widths: list[int]) -> Tensor:
    """sum_n p_n V_n(x), differentiable in x, x_max and p, exactly.

    x of any shape with at least one dimension; x_max > 0 broadcastable, of one element or one a slice of dimension 0; p
    one number a width, sum 1; temperature a scalar above 0, at most WARMEST of `maths.value_grid`; widths in bits, 2 or
    more each. Zeros stay +0, and no other element becomes zero.
    """
    call = torch.ops.secateur.weighted_values if torch.compiler.is_compiling() else _Values.apply
    return call(x, x_max, p, temperature, widths)


def _soft(v: Tensor, largest: int, temperature: float) -> tuple[Tensor, Tensor]:
    """s and its variance."""
    if largest == 1:
        return torch.ones_like(v), torch.zeros_like(v)
    k = v.floor().clamp_(1, largest - 1)
    y = (v - k - 0.5).clamp_(-REACH * temperature, REACH * temperature)
    q, far = (y / temperature).exp_(), math.exp(-2 / temperature)
    inverse = q.reciprocal()
    below = torch.where(k > 1, far * inverse**3, 0.0)
    above = torch.where(k <= largest - 2, far * q**3, 0.0)
    whole = below + inverse + q + above
    offset = (q + 2 * above - below) / whole
    return k + offset, (q + 4 * above + below) / whole - offset.square()


def _forward(x: Tensor, x_max: Tensor, p: Tensor, temperature: Tensor, widths: list[int]) -> Tensor:
    warmth = temperature.item()
    if code := value_levels_for(x, widths):
        return value_levels_forward(code, x, x_max, (p.tolist(), warmth))
    result = torch.empty_like(x, memory_format=torch.contiguous_format)
    rows = shares_of(p, widths)
    for unit, (w, out), (u, mean) in pieces(unit_of(x_max, widths), x, result, scratch=2):
        torch.div(torch.abs(w, out=u), unit.step, out=u)
        mean.zero_()
        for row in rows:
            mean.add_(_soft(u * row.ratio, row.largest, warmth)[0], alpha=row.weight)
        torch.mul(mean, unit.step, out=out).mul_(torch.sign(w, out=u))
    return result


def _backward(
    grad: Tensor, x: Tensor, x_max: Tensor, p: Tensor, temperature: Tensor, widths: list[int]
) -> tuple[Tensor, Tensor, Tensor]:
    warmth = temperature.item()
    if code := value_levels_for(x, widths):
        return value_levels_backward(code, (grad, x), x_max, p, warmth)
    x_grad = torch.empty_like(x, memory_format=torch.contiguous_format)
    rows, ranges, shares = shares_of(p, widths), [], []
    for unit, (w, upstream, out), (u, pull, mean) in pieces(unit_of(x_max, widths), x, grad, x_grad, scratch=3):
        torch.div(torch.abs(w, out=u), unit.step, out=u)
        torch.mul(torch.sign(w, out=pull), upstream, out=pull).mul_(unit.step)
        mean.zero_()
        out.zero_()
        by_share = []
        for row in rows:
            soft, variance = _soft(u * row.ratio, row.largest, warmth)
            mean.add_(soft, alpha=row.weight)
            out.add_(variance, alpha=2 * row.share / warmth)
            by_share.append((soft * pull).sum() / row.ratio)
        shares.append(torch.stack(by_share))
        pull.mul_(mean.sub_(out * u))
        out.mul_(upstream)
        ranges.append(pull.sum().item() if pull.dim() == 1 else pull.sum(1, keepdim=True))
    return x_grad, gathered(ranges, x_max) / x_max, torch.stack(shares).sum(0).to(p.dtype)


def _shape(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _backward_shapes(_g: Tensor, x: Tensor, x_max: Tensor, p: Tensor, *_: Any) -> tuple[Tensor, ...]:
    return torch.empty_like(x, memory_format=torch.contiguous_format), torch.empty_like(x_max), torch.empty_like(p)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001 - passed by keyword
    *tensors, ctx.widths = inputs
    ctx.save_for_backward(*tensors)


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    found = torch.ops.secateur.weighted_values_backward(grad, *ctx.saved_tensors, ctx.widths)
    return (*found, None, None)


class _Values(torch.autograd.Function):
    """The operators called directly."""

    forward, setup_context = staticmethod(_forward), staticmethod(_setup)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        (grad,), (x, x_max, p, temperature) = grad_outputs, ctx.saved_tensors
        return (*_backward(grad, x, x_max, p, temperature, ctx.widths), None, None)


LIBRARY.impl("weighted_values", _forward, "CompositeExplicitAutograd")
LIBRARY.impl("weighted_values_backward", _backward, "CompositeExplicitAutograd")
torch.library.register_fake("secateur::weighted_values", _shape, lib=LIBRARY)
torch.library.register_fake("secateur::weighted_values_backward", _backward_shapes, lib=LIBRARY)
torch.library.register_autograd("secateur::weighted_values", _gradients, setup_context=_setup, lib=LIBRARY)
