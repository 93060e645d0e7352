"""Rivals of balanced pruning that leave the same pattern, as stages "prune": by magnitude alone, nothing is learned."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from secateur.ir.rules import Prune
from secateur.nn.grouping import Grouping
from secateur.nn.prune_stage import PruneStage

DECAY = 2e-4
"""lambda_W of the paper, for every network in it."""


class _Magnitude(PruneStage):
    """What both share: the pattern, and |w| as the score."""

    def __init__(self, w: Tensor, rule: Prune, channel_axis: int = 0) -> None:
        super().__init__()
        std = w.detach().float().std(correction=0).clamp_min(torch.finfo(torch.float32).tiny * 1e8)
        self.register_buffer("std", std)
        self.patterns = rule.patterns
        self.grouping = Grouping.of(tuple(w.shape), channel_axis, self.patterns[0])

    @torch.no_grad()
    def score(self, w: Tensor) -> Tensor:
        """|w| in standard deviations of the trained weights."""
        return w.detach().float().abs() / self.std

    @torch.no_grad()
    def threshold(self, w: Tensor) -> float:
        """The magnitude above which as many weights are as stay: with groups of their own it is no sharp edge."""
        sizes = w.detach().abs().flatten()
        return float(sizes.kthvalue(len(sizes) - int(self.keeps(w).sum())).values)


class SparseRefined(_Magnitude):
    """SR-STE: at every step the n largest of every m are used, all weights get the gradient of what is used (straight
    through), and those that are not used decay: gradient += decay (1 - mask) w.

    Source: Zhou, Ma, Zhu, Liu, Zhang, Yuan, Sun, Li, "Learning N:M fine-grained structured sparse neural networks from
    scratch", ICLR 2021, arXiv 2102.04010, equation 9.
    """

    def __init__(self, w: Tensor, rule: Prune, channel_axis: int = 0) -> None:
        super().__init__(w, rule, channel_axis)
        self.decay = DECAY if rule.decay is None else rule.decay

    @torch.no_grad()
    def keeps(self, w: Tensor) -> Tensor:
        """The n largest of every m now."""
        return self.project(w.detach().abs(), self.patterns[0])

    def soft(self, w: Tensor, *, hard: bool = False) -> tuple[Tensor, Tensor]:  # noqa: ARG002 - always hard
        """The weight under the mask of now, and the number of weights in it."""
        mask = self.keeps(w)
        return _Refined.apply(w, mask, self.decay), mask.sum().float()


class _Refined(torch.autograd.Function):
    @staticmethod
    def forward(w: Tensor, mask: Tensor, decay: float) -> Tensor:  # noqa: ARG004 - of the backward pass
        return torch.where(mask, w, 0.0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004 - torch's signature
        w, mask, ctx.decay = inputs
        ctx.save_for_backward(w, mask)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        w, mask = ctx.saved_tensors
        return torch.where(mask, grads[0], grads[0] + ctx.decay * w), None, None


class TopN(_Magnitude):
    """The n largest of every m of the trained weights, at once and for good; training goes on with what they are."""

    kept: Tensor

    def __init__(self, w: Tensor, rule: Prune, channel_axis: int = 0) -> None:
        super().__init__(w, rule, channel_axis)
        self.register_buffer("kept", self.project(w.detach().abs(), self.patterns[0]))

    def keeps(self, w: Tensor) -> Tensor:  # noqa: ARG002 - decided when training began
        """The mask of the trained weights."""
        return self.kept

    @torch.no_grad()
    def score(self, w: Tensor) -> Tensor:
        """As in all of them, but what is masked counts less than anything that stays."""
        return super().score(w).masked_fill(~self.kept, 0.0) + self.kept

    def soft(self, w: Tensor, *, hard: bool = False) -> tuple[Tensor, Tensor]:  # noqa: ARG002 - always hard
        """The weight under the mask, and the number of weights in it."""
        return torch.where(self.kept, w, 0.0), self.kept.sum().float()
