"""Balanced pruning in torch: a stage "prune" whose groups of m weights learn to keep equally many, and end with n each.

Source: US20200097830A1; formulas (our reading): `secateur.maths.balance`. The mask function is that of self-pruning,
`nn.threshold`: its width alpha learns, its sharpness is raised by a schedule.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from secateur.ir.rules import Prune
from secateur.maths.balance import in_use
from secateur.nn.fused import gate_slopes, gate_values
from secateur.nn.grouping import Grouping, counts_of, spread
from secateur.nn.threshold import ThresholdPrune


class BalancedPrune(ThresholdPrune):
    """A ThresholdPrune that hardens to a pattern. Until then it is soft like one where there are several n to choose
    from; where n is given, the network computes with exactly as many of every m as are in use, and gradients alone are
    those of the soft gate (measured: docs/balanced.md). `train.balance` narrows what is in use from m to n, and makes
    the counts of its groups equal, and n where n is given."""

    in_use: Tensor
    """Of every m weights, how many the network computes with now, where n is given."""

    def __init__(self, w: Tensor, rule: Prune, channel_axis: int = 0) -> None:
        super().__init__(w, rule, channel_axis)
        self.patterns = rule.patterns
        self.grouping = Grouping.of(tuple(w.shape), channel_axis, self.patterns[0])
        self.register_buffer("in_use", torch.tensor(self.patterns[0].n, device=w.device))

    @torch.no_grad()
    def narrow_(self, done: float) -> None:
        """What is in use from now on, done 0 to 1 on the way from m to n (`maths.balance.in_use`)."""
        pattern = self.patterns[0]
        self.in_use.fill_(in_use(pattern.n, pattern.m, done))

    def soft(self, w: Tensor, *, hard: bool = False) -> tuple[Tensor, Tensor]:
        """As of a ThresholdPrune; where n is given the weight under the projection on what is in use, whatever `hard`
        says."""
        pruned, count = super().soft(w, hard=hard)
        if self.is_fixed:
            mask = self.grouping.project_keeping(w.detach().abs(), self.patterns[0], self.in_use)
            pruned = pruned + (torch.where(mask, w.detach(), 0.0) - pruned.detach())
        return pruned, count

    def versions(self) -> tuple[int, ...]:
        """As of a ThresholdPrune, and of what is in use."""
        return (*super().versions(), self.in_use._version)

    def group_counts(self, w: Tensor) -> Tensor:
        """Soft counts (rows, groups): the sum of h over every group; differentiable in the weight and in alpha, while
        k is given (what balances are weights and width)."""
        rows, alpha, k = map(self.grouping.rows, (w.float(), self.alpha(), self.sharpness().detach()))
        return _Counts.apply(rows, alpha, k, self.grouping.m)


class _Counts(torch.autograd.Function):
    """Nothing but the weight is kept between forward and backward; both are one fused pass and a few of torch's own."""

    @staticmethod
    def forward(rows: Tensor, alpha: Tensor, k: Tensor, m: int) -> Tensor:
        return counts_of(gate_values(rows, alpha, k), m)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004 - torch's signature
        *tensors, ctx.m = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        rows, alpha, k = ctx.saved_tensors
        toward_w = gate_slopes(rows, alpha, k).mul_(spread(grads[0], rows.shape[1], ctx.m))
        toward_size = toward_w * rows
        summed = toward_size.sum() if alpha.numel() == 1 else toward_size.sum(1, keepdim=True)
        return toward_w, (-summed / alpha).reshape(alpha.shape), None, None
