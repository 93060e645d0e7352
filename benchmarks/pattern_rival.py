"""Magnitude in a pattern: the network is trained dense, then of every m weights the n largest stay, at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rivals import GradualMagnitude, original
from secateur.ir.pattern import Pattern
from secateur.nn.grouping import Grouping


class PatternMagnitude(GradualMagnitude):
    """Dense until it is hardened; layers in which no group can be cut stay dense, as in `Prune`. n, m: of the pattern;
    density: what it leaves, for the results."""

    def __init__(self, model: nn.Module, example: Tensor, density: float, steps: int, *, n: int, m: int) -> None:
        super().__init__(model, example, density, steps, dense_gradient=False)
        self.pattern = Pattern(n, m)

    def step(self) -> None:
        self.taken += 1

    @torch.no_grad()
    def harden(self) -> None:
        for name, mask in self.masks.items():
            weight = original(self.model, name).detach()
            grouping = Grouping.of(tuple(weight.shape), 0, self.pattern)
            if self.pattern.cuts(grouping.length):
                mask.mask.copy_(grouping.project(weight.abs(), self.pattern))
