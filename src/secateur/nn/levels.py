"""The weighted average over bit widths as two torch operators, forward and backward.

Source: US20200293893A1, US20230004813A1; formulas (our reading) in `secateur.maths.grid`: the average of DQ'. With unit
= x_max / Q of the first width, u = |x| / unit and r_n = Q_n / Q_first all widths share one division:

    average = unit sign(x) m,   m = sum_n p_n / r_n code_n,   code_n = clip(round(r_n u), 1, Q_n)
    d/dx = s,   s = sum of p_n over the widths that do not clip     d/dx_max = sign(x) unit (m - s u) / x_max

One width with p = 1 gives code * unit, rounded once: exactly what a file gives back. No width has a copy of the tensor:
nothing is stored between forward and backward but x. Generated code (`kernels.levels`) is used where `nn.generated`
says so; elsewhere torch's own operators, over cache-sized pieces; where most of a piece is zero, on the rest alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from secateur.nn.generated import levels_backward, levels_for, levels_forward
from secateur.nn.pieces import LIBRARY, gathered, pieces
from secateur.nn.width_units import Width, shares_of, unit_of

FEW = 0.25
"""A piece with a smaller fraction of non-zeros is computed on these alone."""

LIBRARY.define("weighted_levels(Tensor x, Tensor x_max, Tensor p, int[] widths) -> Tensor")
LIBRARY.define(
    "weighted_levels_backward(Tensor grad, Tensor x, Tensor x_max, Tensor p, int[] widths) -> (Tensor, Tensor, Tensor)"
)


def weighted_levels(x: Tensor, x_max: Tensor, p: Tensor, widths: list[int]) -> Tensor:
    """sum_n p_n DQ'_n(x), differentiable in x, x_max (both straight-through) and p.

    x of any shape with at least one dimension; x_max > 0 broadcastable, of one element or one a slice of dimension 0; p
    one number a width, sum 1; widths in bits, 2 or more each. Zeros stay +0, and no other element becomes zero.
    """
    # In eager mode without the dispatcher's Python layers, as threshold_gate.
    call = torch.ops.secateur.weighted_levels if torch.compiler.is_compiling() else _Levels.apply
    return call(x, x_max, p, widths)


def _code(u: Tensor, level: Width, out: Tensor) -> Tensor:
    return torch.mul(u, level.ratio, out=out).round_().clamp_(1, level.largest)


def _mean(u: Tensor, levels: list[Width], code: Tensor, out: Tensor) -> Tensor:
    """m of the piece u."""
    out.fill_(sum(level.weight for level in levels if level.largest == 1))
    for level in levels:
        if level.largest > 1:
            out.add_(_code(u, level, code), alpha=level.weight)
    return out


def _nonzeros(u: Tensor) -> Tensor | None:
    """Their places in the flat piece, where they are few."""
    flat = u.reshape(-1)
    return flat.nonzero().squeeze(1) if torch.count_nonzero(flat) < FEW * len(flat) else None


def _forward(x: Tensor, x_max: Tensor, p: Tensor, widths: list[int]) -> Tensor:
    if code := levels_for(x, widths):
        return levels_forward(code, x, x_max, p)
    result = torch.empty_like(x, memory_format=torch.contiguous_format)
    levels = shares_of(p, widths)
    for unit, (w, out), (u, code, mean) in pieces(unit_of(x_max, widths), x, result, scratch=3):
        torch.div(torch.abs(w, out=u), unit.step, out=u)
        places = _nonzeros(w)
        if places is None:
            mean = _mean(u, levels, code, mean)
        else:
            few = u.view(-1)[places]
            mean.zero_().view(-1)[places] = _mean(few, levels, torch.empty_like(few), torch.empty_like(few))
        torch.mul(mean, unit.step, out=out).mul_(torch.sign(w, out=u))
    return result


def _backward(grad: Tensor, x: Tensor, x_max: Tensor, p: Tensor, widths: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    if code := levels_for(x, widths):
        return levels_backward(code, grad, x, x_max, p)
    x_grad = torch.empty_like(x, memory_format=torch.contiguous_format)
    levels = shares_of(p, widths)
    ranges, shares = [], []
    for unit, (w, upstream, out), (u, toward) in pieces(unit_of(x_max, widths), x, grad, x_grad, scratch=2):
        torch.div(torch.abs(w, out=u), unit.step, out=u)
        torch.mul(torch.sign(w, out=toward), upstream, out=toward).mul_(unit.step)
        out.copy_(upstream)
        places = _nonzeros(w)
        few, pull = (u.view(-1), toward.view(-1)) if places is None else (u.view(-1)[places], toward.view(-1)[places])
        mean, by_share = _toward_shares(few, pull, levels)
        shares.append(by_share)
        beyond, inside = _clipped(few, levels)
        if len(beyond):
            out.view(-1)[beyond if places is None else places[beyond]] *= inside
            few[beyond] *= inside
        pull.mul_(mean.sub_(few))
        if places is not None:
            toward.zero_().view(-1)[places] = pull
        ranges.append(toward.sum().item() if toward.dim() == 1 else toward.sum(1, keepdim=True))
    return x_grad, gathered(ranges, x_max) / x_max, torch.stack(shares).sum(0).to(p.dtype)


def _toward_shares(u: Tensor, pull: Tensor, levels: list[Width]) -> tuple[Tensor, Tensor]:
    """m, and by width the product of pull with code_n / r_n: what moving a share by one would change."""
    mean = torch.full_like(u, sum(level.weight for level in levels if level.largest == 1))
    code, found = torch.empty_like(u), []
    for level in levels:
        if level.largest > 1:
            mean.add_(_code(u, level, code), alpha=level.weight)
            found.append(torch.dot(code, pull) / level.ratio)
        else:
            found.append(pull.sum() / level.ratio)
    return mean, torch.stack(found)


def _clipped(u: Tensor, levels: list[Width]) -> tuple[Tensor, Tensor]:
    """Places of what some width clips, and the shares there of the widths that do not. round(Q + 1/2) is Q + 1."""
    ends = [(level.largest + 0.5) / level.ratio for level in levels]
    places = (u >= min(ends)).nonzero().squeeze(1)
    beyond = u[places]
    inside = torch.zeros_like(beyond)
    for level, end in zip(levels, ends, strict=True):
        inside.add_((beyond < end).to(u.dtype), alpha=level.share)
    return places, inside


def _shape(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _backward_shapes(_g: Tensor, x: Tensor, x_max: Tensor, p: Tensor, _w: list[int]) -> tuple[Tensor, ...]:
    return torch.empty_like(x, memory_format=torch.contiguous_format), torch.empty_like(x_max), torch.empty_like(p)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001 - passed by keyword
    x, x_max, p, ctx.widths = inputs
    ctx.save_for_backward(x, x_max, p)


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return (*torch.ops.secateur.weighted_levels_backward(grad, *ctx.saved_tensors, ctx.widths), None)


class _Levels(torch.autograd.Function):
    """The operators called directly."""

    forward, setup_context = staticmethod(_forward), staticmethod(_setup)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        (grad,), (x, x_max, p) = grad_outputs, ctx.saved_tensors
        return (*_backward(grad, x, x_max, p, ctx.widths), None)


LIBRARY.impl("weighted_levels", _forward, "CompositeExplicitAutograd")
LIBRARY.impl("weighted_levels_backward", _backward, "CompositeExplicitAutograd")
torch.library.register_fake("secateur::weighted_levels", _shape, lib=LIBRARY)
torch.library.register_fake("secateur::weighted_levels_backward", _backward_shapes, lib=LIBRARY)
torch.library.register_autograd("secateur::weighted_levels", _gradients, setup_context=_setup, lib=LIBRARY)
