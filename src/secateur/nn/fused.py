"""The analytic threshold function as two torch operators, forward and backward, that run over a weight in cache-sized
pieces.

Source: US20190180184A1, US20220129756A1; formulas (our reading) in `secateur.maths.threshold`. With r = |w| / alpha
both sigmoids share one hyperbolic form, which needs one exponential instead of two:

    h = 1 - g,   g = sinh k / (cosh kr + cosh k) = 2 q sinh k / (1 + 2 q cosh k + q^2),   q = exp(-kr)
    m = sinh kr / (cosh kr + cosh k) = (1 - q^2) / (1 + 2 q cosh k + q^2)
    dh/dr = k g m          dh/dk = -g (coth k - r m - g)

Being operators of the dispatcher they are opaque to torch.compile and torch.export, which therefore never break on
them. Nothing is stored between forward and backward but the weight itself; the scratch space is four pieces.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from secateur.maths.threshold import TINY_GATE

EDGE_CLIP = 2.0
"""w dh/dw reaches k/4 at a sharp edge; beyond this bound it would throw weights across the threshold and back."""
TINY_ROOT = 1e-19
"""Its square is still a normal float32, and nothing beside 1."""
PIECE = 65536
"""Elements a piece: four float32 scratch pieces fill 1 MiB, which stays in a core's L2 cache."""

LIBRARY = torch.library.Library("secateur", "DEF")
LIBRARY.define("threshold_gate(Tensor w, Tensor alpha, Tensor k, str form) -> (Tensor, Tensor)")
LIBRARY.define(
    "threshold_gate_backward(Tensor pruned_grad, Tensor count_grad, Tensor w, Tensor alpha, Tensor k, str form)"
    " -> (Tensor, Tensor, Tensor)"
)


def threshold_gate(w: Tensor, alpha: Tensor, k: Tensor, form: str) -> tuple[Tensor, Tensor]:
    """(w h(w), sum of h), differentiable in w, alpha and k.

    w of any shape with at least one dimension; alpha, k > 0 broadcastable, of one element or one a slice of dimension
    0. form as in `ir.plan.Prune`. In the gradient of w, w dh/dw is bounded by EDGE_CLIP.
    """
    return torch.ops.secateur.threshold_gate(w, alpha, k, form)


def _forward(w: Tensor, alpha: Tensor, k: Tensor, form: str) -> tuple[Tensor, Tensor]:
    pruned = torch.empty_like(w, memory_format=torch.contiguous_format)
    counts = []
    for x, out, a, kk, (q, d) in _pieces(alpha, k, w, pruned, scratch=2):
        _exponential(x, a, kk, q)
        torch.add(q, 2 * kk.cosh(), out=d)
        d.mul_(q).add_(1)
        h = q.div_(d).mul_(-2 * kk.sinh()).add_(1)
        torch.threshold_(h, TINY_GATE, 0.0)
        counts.append(h.sum())
        if form == "straight_through":
            h = torch.gt(torch.abs(x, out=d), a, out=q)
        torch.mul(h, x, out=out)
    return pruned, torch.stack(counts).sum()


def _backward(
    pruned_grad: Tensor, count_grad: Tensor, w: Tensor, alpha: Tensor, k: Tensor, form: str
) -> tuple[Tensor, Tensor, Tensor]:
    w_grad = torch.empty_like(w, memory_format=torch.contiguous_format)
    alpha_sums, k_sums = [], []
    for x, upstream, out, a, kk, (q, kr, d, u) in _pieces(alpha, k, w, pruned_grad, w_grad, scratch=4):
        torch.neg(_exponential(x, a, kk, q, keep=kr), out=kr)
        torch.add(q, 2 * kk.cosh(), out=d)
        d.mul_(q).add_(1).reciprocal_()
        torch.mul(upstream, x, out=u).add_(count_grad)
        g = torch.mul(q, d, out=out).mul_(2 * kk.sinh())
        minus_m = q.clamp_min_(TINY_ROOT).square_().sub_(1).mul_(d)
        u.mul_(g)
        minus_edge = kr.mul_(minus_m)
        toward_alpha, toward_g, total = _dot(u, minus_edge), _dot(u, g), u.sum(1, keepdim=True)
        alpha_sums.append(toward_alpha)
        k_sums.append(toward_g - total / kk.tanh() - toward_alpha / kk)
        if form == "dense":
            torch.copysign(g.mul_(minus_m), x, out=g).mul_(count_grad * kk / a).add_(upstream)
        else:
            torch.copysign(torch.mul(g, minus_m, out=d), x, out=d).mul_(count_grad * kk / a)
            h_plus_edge = minus_edge.mul_(g).neg_().clamp_(max=EDGE_CLIP).sub_(g).add_(1)
            torch.addcmul(d, h_plus_edge, upstream, out=out)
    return w_grad, _reduced(alpha_sums, alpha).div_(alpha), _reduced(k_sums, k)


def _pieces(alpha: Tensor, k: Tensor, *tensors: Tensor, scratch: int) -> Iterator[tuple[Any, ...]]:
    """Matching pieces of the tensors as (rows, n) matrices, with their alpha and k as (rows, 1) and shared scratch
    matrices.

    With one threshold a tensor there is one long row, cut along it; with one a channel, rows are kept together.
    """
    rows = max(alpha.numel(), k.numel())
    matrices = [t.reshape(rows, -1) if t.is_contiguous() else t.contiguous().view(rows, -1) for t in tensors]
    columns = matrices[0].shape[1]
    whole = tensors[0].device.type != "cpu" or columns == 0
    height = rows if whole else max(1, min(rows, PIECE // columns))
    width = columns if whole else min(columns, max(1, PIECE // height))
    buffers = [torch.empty(height * width, dtype=matrices[0].dtype, device=matrices[0].device) for _ in range(scratch)]
    alpha, k = alpha.reshape(-1, 1).expand(rows, 1), k.reshape(-1, 1).expand(rows, 1)
    for top in range(0, rows, height):
        for left in range(0, max(1, columns), max(1, width)):
            parts = [m[top : top + height, left : left + width] for m in matrices]
            shape = parts[0].shape
            yield (
                *parts,
                alpha[top : top + height],
                k[top : top + height],
                [b[: parts[0].numel()].view(shape) for b in buffers],
            )


def _exponential(x: Tensor, alpha: Tensor, k: Tensor, q: Tensor, keep: Tensor | None = None) -> Tensor:
    """q <- exp(-k|x|/alpha); returns -k|x|/alpha, in `keep` where given, else the buffer that now holds q.

    Where g is far below the dtype's precision the exponent stops falling: h is 1 there, and an exponential or a product
    that underflows is ten times as slow.
    """
    reach = -1.5 * math.log(torch.finfo(x.dtype).eps)
    exponent = torch.abs(x, out=q if keep is None else keep).mul_(-k / alpha)
    torch.maximum(exponent, -reach - k, out=exponent)
    torch.exp(exponent, out=q)
    return exponent


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Row-wise dot product of two (rows, n) matrices, (rows, 1)."""
    return torch.bmm(a.unsqueeze(1), b.unsqueeze(2)).squeeze(2)


def _reduced(sums: list[Tensor], like: Tensor) -> Tensor:
    """Piece sums, in the order of the pieces, summed to the shape of alpha or k."""
    if like.numel() == 1:
        return torch.cat(sums).sum().reshape(like.shape)
    rows = like.numel()
    per_row = torch.cat(sums)
    return (per_row if len(per_row) == rows else per_row.view(rows, -1).sum(1)).reshape(like.shape)


def _shapes(w: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return torch.empty_like(w, memory_format=torch.contiguous_format), w.new_empty(())


def _backward_shapes(_p: Tensor, _c: Tensor, w: Tensor, alpha: Tensor, k: Tensor, _f: str) -> tuple[Tensor, ...]:
    return torch.empty_like(w, memory_format=torch.contiguous_format), torch.empty_like(alpha), torch.empty_like(k)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001 - passed by keyword
    w, alpha, k, ctx.form = inputs
    ctx.save_for_backward(w, alpha, k)


def _gradients(ctx: Any, pruned_grad: Tensor, count_grad: Tensor) -> tuple[Tensor | None, ...]:
    gradients = torch.ops.secateur.threshold_gate_backward(pruned_grad, count_grad, *ctx.saved_tensors, ctx.form)
    return (*gradients, None)


LIBRARY.impl("threshold_gate", _forward, "CompositeExplicitAutograd")
LIBRARY.impl("threshold_gate_backward", _backward, "CompositeExplicitAutograd")
torch.library.register_fake("secateur::threshold_gate", _shapes, lib=LIBRARY)
torch.library.register_fake("secateur::threshold_gate_backward", _backward_shapes, lib=LIBRARY)
torch.library.register_autograd("secateur::threshold_gate", _gradients, setup_context=_setup, lib=LIBRARY)
