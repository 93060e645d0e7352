"""Self-pruning in torch: the stage "prune" with its learned threshold and sharpness.

Source: US20190180184A1, US20220129756A1; formulas (our reading), symbols and derivatives: `secateur.maths.threshold`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secateur.ir.rules import Prune
from secateur.maths.threshold import inverse_softplus
from secateur.nn.fused import threshold_gate
from secateur.nn.pieces import in_rows
from secateur.nn.prune_stage import PruneStage

SHARPNESS_FLOOR = 6.0
"""k = alpha beta at the start: the gate at weight 0 is 2 sigma(-6) = 0.005."""
LEARNED_SHARPNESS_START = 0.1
SHARPNESS_LIMIT = 60.0
"""cosh k must stay finite in float32 (k < 88); at 60 the gate is a step for every practical purpose."""


class ThresholdPrune(PruneStage):
    """The stage "prune" of one weight: alpha and beta learned by back-propagation until it is hardened, then a fixed
    mask.

    alpha = std softplus(alpha_raw), in units of the trained weights' standard deviation, so that one learning rate fits
    all layers; k = alpha beta = floor + softplus(beta_raw), learned above a floor that a schedule may raise.
    Computed in float32 whatever the weight's dtype and whether or not autocast is on.
    """

    alpha_raw: nn.Parameter
    beta_raw: nn.Parameter
    floor: Tensor

    def __init__(self, w: Tensor, rule: Prune, channel_axis: int = 0) -> None:
        super().__init__()
        self.channel_axis = channel_axis if rule.granularity == "channel" else 0
        shape = [1] * w.dim()
        if rule.granularity == "channel":
            shape[channel_axis] = w.shape[channel_axis]
        channels_first = w.detach().float().movedim(self.channel_axis, 0)
        std = channels_first.reshape(math.prod(shape), -1).std(1, correction=0)
        self.register_buffer("std", std.clamp_min(torch.finfo(torch.float32).tiny * 1e8).reshape(shape))
        self.register_buffer("floor", torch.tensor(SHARPNESS_FLOOR, device=w.device))
        self.alpha_raw = nn.Parameter(torch.full(shape, inverse_softplus(rule.start), device=w.device))
        self.beta_raw = nn.Parameter(torch.full(shape, inverse_softplus(LEARNED_SHARPNESS_START), device=w.device))
        self.form = rule.form

    def alpha(self) -> Tensor:
        """Threshold in units of the weight, one or one a channel, broadcastable to the weight; differentiable."""
        return self.std * F.softplus(self.alpha_raw)

    def sharpness(self) -> Tensor:
        """k = alpha beta, dimensionless; differentiable."""
        return (self.floor + F.softplus(self.beta_raw)).clamp_max(SHARPNESS_LIMIT)

    def soft(self, w: Tensor, *, hard: bool = False) -> tuple[Tensor, Tensor]:
        """The pruned weight and the expected number of non-zeros, both differentiable. hard, and of the form
        "straight_through": both under the hard mask, with the gradients of the soft gate."""

        def gate(rows: Tensor, alpha: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
            return threshold_gate(rows, alpha, k, self.form, hard)

        # Nothing below is an operation that autocast would run in a lower precision.
        pruned, count = in_rows(gate, w.float(), self.alpha(), self.sharpness(), axis=self.channel_axis)
        return pruned.to(w.dtype), count

    @torch.no_grad()
    def score(self, w: Tensor) -> Tensor:
        """|w| / alpha: a weight stays when its score exceeds a common factor, 1 for the learned thresholds
        themselves."""
        return w.detach().float().abs() / self.alpha()

    @torch.no_grad()
    def set_threshold(self, alpha: float) -> None:
        """One threshold for the whole tensor, in units of the weight, in place of what was learned or begun with."""
        units = (alpha / self.std.double()).clamp_min(1e-30)
        self.alpha_raw.copy_(torch.where(units > 30, units, units.expm1().log()))

    @torch.no_grad()
    def keeps(self, w: Tensor) -> Tensor:
        """The mask of the weights above the threshold as it is."""
        return self.score(w) > 1

    @torch.no_grad()
    def threshold(self, w: Tensor) -> float:  # noqa: ARG002 - others are set by the weights
        """alpha, the mean where there is one a channel."""
        return float(self.alpha().mean())

    @torch.no_grad()
    def sharpen_(self, floor: float) -> None:
        """The least k from now on."""
        self.floor.fill_(floor)

    def versions(self) -> tuple[int, ...]:
        """Of the parameters and of the floor."""
        return (*super().versions(), self.floor._version)
