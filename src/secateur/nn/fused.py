"""The analytic threshold function as two torch operators, forward and backward.

Source: US20190180184A1, US20220129756A1; formulas (our reading) in `secateur.maths.threshold`, rewritten for one
exponential in `secateur.kernels.gate`. That generated code is used where `nn.generated` says so; elsewhere the same
formulas are torch's own operators, over a weight in cache-sized pieces: float64, a GPU, another processor.

Nothing is stored between forward and backward but the weight itself; torch's operators take four pieces of scratch
space (`nn.pieces`).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from secateur.maths.threshold import EDGE_CLIP, SMALLEST_ALPHA, TINY_GATE
from secateur.nn.generated import gate_backward, gate_for, gate_forward
from secateur.nn.pieces import LIBRARY, gathered, is_one, pieces

LIBRARY.define("threshold_gate(Tensor w, Tensor alpha, Tensor k, str form, bool hard) -> (Tensor, Tensor)")
LIBRARY.define(
    "threshold_gate_backward(Tensor pruned_grad, Tensor count_grad, Tensor w, Tensor alpha, Tensor k, str form)"
    " -> (Tensor, Tensor, Tensor)"
)


def threshold_gate(w: Tensor, alpha: Tensor, k: Tensor, form: str, hard: bool = False) -> tuple[Tensor, Tensor]:
    """(w h(w), sum of h), differentiable in w, alpha and k.

    w of any shape with at least one dimension; alpha, k > 0 broadcastable, of one element or one a slice of dimension
    0. form as in `ir.rules.Prune`; hard: the hard mask forward whatever the form, the gradients of the form backward.
    Under the hard mask the sum is of what it keeps, exactly: what a target is compared with is what hardening leaves.
    In the gradient of w, w dh/dw is bounded by EDGE_CLIP.
    """
    # In eager mode the same functions without the dispatcher's Python layers, which cost a small layer 60 us a step.
    call = torch.ops.secateur.threshold_gate if torch.compiler.is_compiling() else _Gate.apply
    return call(w, alpha, k, form, hard)


def gate_values(w: Tensor, alpha: Tensor, k: Tensor) -> Tensor:
    """h(w) itself, without gradients, for what counts it in parts. Arguments as in `threshold_gate`."""
    x = torch.where(w == 0, torch.finfo(w.dtype).tiny * 1e15, w)  # what is multiplied by h tells h, but 0
    return _forward(x, alpha, k, "dense", False)[0].div_(x)


def gate_slopes(w: Tensor, alpha: Tensor, k: Tensor) -> Tensor:
    """dh/dw, without gradients; at constant k, alpha dh/dalpha = -w dh/dw."""
    return _backward(torch.zeros_like(w), w.new_ones(()), w, alpha, k, "dense")[0]


class _Edge(NamedTuple):
    """The constants of one threshold, Python numbers beside scalar tensors, or of one a row, all in columns."""

    alpha: Any
    slope: Any
    """k / alpha"""
    tail: Any
    """1 / (2 sinh k)^2, or 0 where it is nothing beside coth k: a product that underflows is ten times as slow."""
    half_coth: Any
    coth: Tensor
    log_height: Tensor
    """log(2 sinh k), the exponent of p at weight 0"""
    farthest: Any
    """|w| from which on h is 1 in this dtype and all derivatives are 0"""


def _edge(w: Tensor, alpha: Tensor, k: Tensor) -> _Edge:
    nothing = torch.finfo(w.dtype).eps
    far = -1.5 * math.log(nothing)
    if is_one(alpha, k):
        a, kk = max(alpha.item(), SMALLEST_ALPHA), k.item()
        height, coth = 2 * math.sinh(kk), 1 / math.tanh(kk)
        tail = height**-2 if height * nothing < 1 else 0.0
        coths, heights = torch.tensor([coth, math.log(height)], dtype=w.dtype).unbind()
        return _Edge(a, kk / a, tail, coth / 2, coths, heights, (far + math.log(height)) * a / kk)
    a, kk = torch.broadcast_tensors(alpha.reshape(-1, 1).clamp_min(SMALLEST_ALPHA), k.reshape(-1, 1))
    height, coth = 2 * kk.sinh(), 1 / kk.tanh()
    tail = torch.where(height * nothing < 1, height.pow(-2), 0.0)
    return _Edge(a, kk / a, tail, coth / 2, coth, height.log(), (far + height.log()) * a / kk)


def _forward(w: Tensor, alpha: Tensor, k: Tensor, form: str, hard: bool) -> tuple[Tensor, Tensor]:
    form = "straight_through" if hard else form
    if gate := gate_for(w, form):
        return gate_forward(gate, w, alpha, k)
    pruned = torch.empty_like(w, memory_format=torch.contiguous_format)
    one, counts = w.new_ones(()), []
    for edge, (x, out), (p, d) in pieces(_edge(w, alpha, k), w, pruned, scratch=2):
        if form == "straight_through":
            h = torch.gt(torch.abs(x, out=d), edge.alpha, out=p)
            counts.append(h.sum() + 0.0 * d.mul_(edge.slope).sum())  # what is NaN compares as cut, but must be seen
        else:
            h = _soft_gate(x, edge, one, (p, d))
            counts.append(h.sum())
        torch.mul(h, x, out=out)
    return pruned, counts[0] if len(counts) == 1 else torch.stack(counts).sum()


def _soft_gate(x: Tensor, edge: _Edge, one: Tensor, scratch: tuple[Tensor, Tensor]) -> Tensor:
    p, d = scratch
    _affine(edge.log_height, _size(x, edge, p), -edge.slope, p).exp_()
    torch.addcmul(one, _affine(edge.coth, p, edge.tail, d), p, out=d)
    return torch.threshold_(torch.addcdiv(one, p, d, value=-1, out=p), TINY_GATE, 0.0)


def _backward(
    pruned_grad: Tensor, count_grad: Tensor, w: Tensor, alpha: Tensor, k: Tensor, form: str
) -> tuple[Tensor, Tensor, Tensor]:
    if gate := gate_for(w, form):
        return gate_backward(gate, (pruned_grad, count_grad), w, alpha, k)
    w_grad = torch.empty_like(w, memory_format=torch.contiguous_format)
    one, alpha_grads, k_grads = w.new_ones(()), [], []
    for edge, (x, upstream, out), (size, p, d, u) in pieces(_edge(w, alpha, k), w, pruned_grad, w_grad, scratch=4):
        _affine(edge.log_height, _size(x, edge, size), -edge.slope, p).exp_()
        torch.addcmul(one, _affine(edge.coth, p, edge.tail, d), p, out=d).reciprocal_()
        g = p.mul_(d)
        half_m = _affine(d, g, edge.half_coth, out).sub_(0.5)
        half_e = half_m.mul_(g)  # of e = g m, and dh/d|x| = slope e
        edge_size = torch.mul(half_e, size, out=d)
        torch.addcmul(count_grad, upstream, x, out=u)
        toward_size = 2 * _dot(u, edge_size)
        toward_g, total = _dot(u.mul_(g), g), _sum(u)
        alpha_grads.append(-toward_size * edge.slope / edge.alpha)
        k_grads.append(toward_g - total * (2 * edge.half_coth) + toward_size / edge.alpha)
        if form != "dense":
            h_plus_edge = edge_size.mul_(2 * edge.slope).clamp_(max=EDGE_CLIP).sub_(g).add_(1)
            upstream = torch.mul(h_plus_edge, upstream, out=u)
        through_count = half_e.mul_(torch.sign(x, out=size))
        _affine(upstream, through_count, 2 * edge.slope * _scalar(count_grad, edge), out)
    return w_grad, gathered(alpha_grads, alpha), gathered(k_grads, k)


def _scalar(tensor: Tensor, edge: _Edge) -> Any:
    return tensor.item() if isinstance(edge.slope, float) else tensor


def _size(x: Tensor, edge: _Edge, out: Tensor) -> Tensor:
    """|x|, where p is far below the dtype's precision no longer growing: h is 1 there, and an exponential or a product
    that underflows is ten times as slow."""
    return torch.abs(x, out=out).clamp_(max=edge.farthest)


def _affine(shift: Tensor, x: Tensor, scale: Any, out: Tensor) -> Tensor:
    """out <- shift + scale x: one pass for one threshold; `out` may be x, but shift only for one threshold."""
    if isinstance(scale, float):
        return torch.add(shift, x, alpha=scale, out=out)
    return torch.mul(x, scale, out=out).add_(shift)


def _dot(a: Tensor, b: Tensor) -> Any:
    """Dot product of two vectors, a number, or of the rows of two (rows, n) matrices, (rows, 1)."""
    # Not bmm for the rows: it rounds to bfloat16 where a backward pass runs inside autocast.
    return torch.dot(a, b).item() if a.dim() == 1 else torch.mul(a, b).sum(1, keepdim=True)


def _sum(a: Tensor) -> Any:
    """Sum of a vector, a number, or of the rows of a matrix, (rows, 1)."""
    return a.sum().item() if a.dim() == 1 else a.sum(1, keepdim=True)


def _shapes(w: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return torch.empty_like(w, memory_format=torch.contiguous_format), w.new_empty(())


def _backward_shapes(_p: Tensor, _c: Tensor, w: Tensor, alpha: Tensor, k: Tensor, _f: str) -> tuple[Tensor, ...]:
    return torch.empty_like(w, memory_format=torch.contiguous_format), torch.empty_like(alpha), torch.empty_like(k)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001 - passed by keyword
    w, alpha, k, ctx.form, _ = inputs
    ctx.save_for_backward(w, alpha, k)


def _gradients(ctx: Any, pruned_grad: Tensor, count_grad: Tensor) -> tuple[Tensor | None, ...]:
    gradients = torch.ops.secateur.threshold_gate_backward(pruned_grad, count_grad, *ctx.saved_tensors, ctx.form)
    return (*gradients, None, None)


class _Gate(torch.autograd.Function):
    """The operators called directly."""

    forward, setup_context = staticmethod(_forward), staticmethod(_setup)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        (pruned_grad, count_grad), (w, alpha, k) = grad_outputs, ctx.saved_tensors
        return (*_backward(pruned_grad, count_grad, w, alpha, k, ctx.form), None, None)


LIBRARY.impl("threshold_gate", _forward, "CompositeExplicitAutograd")
LIBRARY.impl("threshold_gate_backward", _backward, "CompositeExplicitAutograd")
torch.library.register_fake("secateur::threshold_gate", _shapes, lib=LIBRARY)
torch.library.register_fake("secateur::threshold_gate_backward", _backward_shapes, lib=LIBRARY)
torch.library.register_autograd("secateur::threshold_gate", _gradients, setup_context=_setup, lib=LIBRARY)
