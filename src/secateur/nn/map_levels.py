"""Quantized feature maps as two torch operators, forward and backward: at one bit width, and the average over several.

Source: US20200293893A1, US20230004813A1; formulas (our reading) in `secateur.maths.map_grid`. With unit = x_max / qmax
of the first width, u = x / unit and r_n = qmax_n / qmax_first all widths share one division:

    average = unit m,   m = sum_n p_n / r_n code_n,   code_n = clip(floor(r_n u + 1/2), qmin_n, qmax_n)
    d/dx = s,   s = sum of p_n over the widths that do not clip     d/dunit = m - s u     d/dp_n = unit code_n / r_n

One width gives code * scale, rounded once: what a file's graph gives. No width has a copy of the map: nothing is stored
between forward and backward but x. Generated code (`kernels.map_levels`) is used where `nn.generated` says so;
elsewhere torch's own operators, over cache-sized pieces. Maps in bfloat16 or float16 are computed in float32. A map
keeps its memory format.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from secateur.maths.map_grid import codes
from secateur.nn.generated import map_levels_backward, map_levels_for, map_levels_forward
from secateur.nn.pieces import LIBRARY, gathered, is_one, pieces

STRETCH = 1 << 18
"""Elements of a map in bfloat16 or float16 that are in float32 at a time."""

LIBRARY.define("fake_quantize(Tensor x, Tensor scale, int bits, bool signed) -> Tensor")
LIBRARY.define("fake_quantize_backward(Tensor grad, Tensor x, Tensor scale, int bits, bool signed) -> (Tensor, Tensor)")
LIBRARY.define("weighted_maps(Tensor x, Tensor x_max, Tensor p, int[] widths, bool signed) -> Tensor")
LIBRARY.define(
    "weighted_maps_backward(Tensor grad, Tensor x, Tensor x_max, Tensor p, int[] widths, bool signed) "
    "-> (Tensor, Tensor, Tensor)"
)


def fake_quantize(x: Tensor, scale: Tensor, bits: int, *, signed: bool) -> Tensor:
    """float32(code) * scale, code = clip(floor(x / scale + 1/2), qmin, qmax); straight-through in x and scale.

    x of any shape, memory format and floating dtype; scale > 0 of one element. The result has x's dtype.
    """
    call = torch.ops.secateur.fake_quantize if torch.compiler.is_compiling() else _FakeQuantize.apply
    return call(x, scale, bits, signed)


def weighted_maps(x: Tensor, x_max: Tensor, p: Tensor, widths: list[int], *, signed: bool) -> Tensor:
    """sum_n p_n DQ_n(x), differentiable in x, x_max (both straight-through) and p.

    x as in `fake_quantize`; x_max > 0 of one element; p one number a width, sum 1; widths in bits, 2 or more each.
    """
    call = torch.ops.secateur.weighted_maps if torch.compiler.is_compiling() else _WeightedMaps.apply
    return call(x, x_max, p, widths, signed)


class _Unit(NamedTuple):
    """The step of the first width: a Python number, or a column of one."""

    step: Any


class _Level(NamedTuple):
    """One width: its codes, how many of them are one of the first width, and its share."""

    low: int
    high: int
    ratio: float
    share: float


def _unit(step: Tensor) -> _Unit:
    return _Unit(step.item() if is_one(step) else step.reshape(1, 1))


def _levels(p: list[float], widths: list[int], signed: bool) -> list[_Level]:
    first = codes(widths[0], signed=signed)[1]
    ends = [codes(bits, signed=signed) for bits in widths]
    return [_Level(low, high, high / first, share) for (low, high), share in zip(ends, p, strict=True)]


def _rounded(u: Tensor, level: _Level, out: Tensor) -> Tensor:
    return torch.mul(u, level.ratio, out=out).add_(0.5).floor_()


def _in_memory(x: Tensor, like: Tensor) -> Tensor:
    """The elements of x in the order of `like`'s memory, which has no gaps."""
    if x.stride() != like.stride() or x.dtype != like.dtype:
        x = torch.empty_like(like).copy_(x)
    return x.as_strided((x.numel(),), (1,))


def _stretches(inputs: Sequence[Tensor], output: Tensor) -> Iterator[Sequence[Tensor]]:
    """(inputs..., output) in the dtype they are computed in: as they are, or a stretch at a time in float32."""
    if output.dtype in (torch.float32, torch.float64):
        yield (*inputs, output)
        return
    length = STRETCH if output.device.type == "cpu" else max(1, len(output))
    for *given, out in zip(*(t.split(length) for t in (*inputs, output)), strict=True):
        made = torch.empty_like(out, dtype=torch.float32)
        yield (*(t.float() for t in given), made)
        out.copy_(made)


def _forward(x: Tensor, step: Tensor, p: list[float], widths: list[int], signed: bool) -> Tensor:
    """The average, of x's dtype and layout. step: of the first width."""
    result = torch.empty_like(x)
    for w, out in _stretches([_in_memory(x, result)], _in_memory(result, result)):
        if is_one(step) and (code := map_levels_for(out, widths, signed=signed)):
            map_levels_forward(code, (w, out), step.item(), p)
        else:
            _average(w, out, step, _levels(p, widths, signed))
    return result


def _average(x: Tensor, result: Tensor, step: Tensor, levels: list[_Level]) -> None:
    for unit, (w, out), (u, code) in pieces(_unit(step), x, result, scratch=2):
        torch.div(w, unit.step, out=u)
        out.zero_()
        for level in levels:
            out.add_(_rounded(u, level, code).clamp_(level.low, level.high), alpha=level.share / level.ratio)
        out.mul_(unit.step)


def _backward(
    grad: Tensor, x: Tensor, step: Tensor, p: list[float], widths: list[int], signed: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of x, of the step of the first width, and of every share in units of that step."""
    result, steps, shares = torch.empty_like(x), [], []
    for w, upstream, out in _stretches([_in_memory(one, result) for one in (x, grad)], _in_memory(result, result)):
        if is_one(step) and (code := map_levels_for(out, widths, signed=signed)):
            found = map_levels_backward(code, (w, upstream, out), step.item(), p)
        else:
            found = _gradients((w, upstream, out), step, _levels(p, widths, signed))
        steps.append(found[0].reshape(step.shape))
        shares.append(found[1])
    return result, torch.stack(steps).sum(0), torch.stack(shares).sum(0)


def _gradients(flat: tuple[Tensor, Tensor, Tensor], step: Tensor, levels: list[_Level]) -> tuple[Tensor, Tensor]:
    """Writes the gradient of x to the last of (x, upstream, x_grad)."""
    widest = max(levels, key=lambda level: level.high)
    steps, shares = [], []
    for unit, (w, upstream, out), (u, code, mean, rounded) in pieces(_unit(step), *flat, scratch=4):
        torch.div(w, unit.step, out=u)
        mean.zero_()
        out.zero_()
        found, whole = [], None
        for level in levels:
            torch.clamp(_rounded(u, level, rounded), level.low, level.high, out=code)
            inside = code == rounded
            mean.add_(code, alpha=level.share / level.ratio)
            out.add_(inside, alpha=level.share)
            found.append((code * upstream).sum() / level.ratio)
            whole = inside if level is widest else whole
        # Where the widest does not clip none does, and the shares' sum, which is rounded, is 1.
        assert whole is not None
        out.masked_fill_(whole, 1.0)
        moved = mean.sub_(u.mul_(out)).mul_(upstream)
        out.mul_(upstream)
        steps.append(moved.sum().item() if moved.dim() == 1 else moved.sum(1, keepdim=True))
        shares.append(torch.stack(found))
    return gathered(steps, step), torch.stack(shares).sum(0)


def _largest(widths: list[int], signed: bool) -> int:
    return codes(widths[0], signed=signed)[1]


def _hard(x: Tensor, scale: Tensor, bits: int, signed: bool) -> Tensor:
    return _forward(x, scale, [1.0], [bits], signed)


def _hard_backward(grad: Tensor, x: Tensor, scale: Tensor, bits: int, signed: bool) -> tuple[Tensor, Tensor]:
    return _backward(grad, x, scale, [1.0], [bits], signed)[:2]


def _soft(x: Tensor, x_max: Tensor, p: Tensor, widths: list[int], signed: bool) -> Tensor:
    return _forward(x, x_max / _largest(widths, signed), p.tolist(), widths, signed)


def _soft_backward(
    grad: Tensor, x: Tensor, x_max: Tensor, p: Tensor, widths: list[int], signed: bool
) -> tuple[Tensor, Tensor, Tensor]:
    largest = _largest(widths, signed)
    step = x_max / largest
    x_grad, toward_step, toward_shares = _backward(grad, x, step, p.tolist(), widths, signed)
    return x_grad, toward_step / largest, (toward_shares.to(p.device) * step.reshape(())).to(p.dtype)


def _shape(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x)


def _hard_shapes(_g: Tensor, x: Tensor, scale: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(scale)


def _soft_shapes(_g: Tensor, x: Tensor, x_max: Tensor, p: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(x_max), torch.empty_like(p)


def _hard_setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001 - passed by keyword
    x, scale, ctx.bits, ctx.signed = inputs
    ctx.save_for_backward(x, scale)


def _soft_setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001 - passed by keyword
    x, x_max, p, ctx.widths, ctx.signed = inputs
    ctx.save_for_backward(x, x_max, p)


def _hard_gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    found = torch.ops.secateur.fake_quantize_backward(grad, *ctx.saved_tensors, ctx.bits, ctx.signed)
    return (*found, None, None)


def _soft_gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    found = torch.ops.secateur.weighted_maps_backward(grad, *ctx.saved_tensors, ctx.widths, ctx.signed)
    return (*found, None, None)


class _FakeQuantize(torch.autograd.Function):
    """The operator called directly: in eager mode without the dispatcher's Python layers."""

    forward, setup_context = staticmethod(_hard), staticmethod(_hard_setup)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        (grad,), (x, scale) = grad_outputs, ctx.saved_tensors
        return (*_hard_backward(grad, x, scale, ctx.bits, ctx.signed), None, None)


class _WeightedMaps(torch.autograd.Function):
    """The same of the average."""

    forward, setup_context = staticmethod(_soft), staticmethod(_soft_setup)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        (grad,), (x, x_max, p) = grad_outputs, ctx.saved_tensors
        return (*_soft_backward(grad, x, x_max, p, ctx.widths, ctx.signed), None, None)


for name, run, run_backward, shapes, setup, gradients in (
    ("fake_quantize", _hard, _hard_backward, _hard_shapes, _hard_setup, _hard_gradients),
    ("weighted_maps", _soft, _soft_backward, _soft_shapes, _soft_setup, _soft_gradients),
):
    LIBRARY.impl(name, run, "CompositeExplicitAutograd")
    LIBRARY.impl(f"{name}_backward", run_backward, "CompositeExplicitAutograd")
    torch.library.register_fake(f"secateur::{name}", _shape, lib=LIBRARY)
    torch.library.register_fake(f"secateur::{name}_backward", shapes, lib=LIBRARY)
    torch.library.register_autograd(f"secateur::{name}", gradients, setup_context=setup, lib=LIBRARY)
