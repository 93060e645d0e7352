"""Balance: the pressure under which the groups of a tensor come to keep equally many weights, and n each where n is
given.

Source: US20200097830A1; V and its gradient (our reading): `maths.balance`. Minus a multiplier times V is added to the
loss, and the multiplier ascends: from 0 it only falls, so what is added is a penalty on unequal counts that grows until
they are equal. V is taken in units of what chance would give (`maths.balance.chance`): one rate serves every pattern.
A second multiplier ties the mean count to n (ours): of the constraint t = log(mean count / reference) = 0, an augmented
Lagrangian as those of `train.budget`, the reference moving from the count at the start to n. Where there are several n
to choose from, the mean count is free between the smallest and the largest, and t is 0 there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from secateur.maths.balance import chance
from secateur.nn.balance import BalancedPrune
from secateur.nn.patterns import count_of
from secateur.nn.transform import Transformed

ARRIVAL = 0.7
"""Fraction of the steps after which the reference of a count has reached n."""
NARROWED = 0.5
"""Fraction of the steps after which the network computes with exactly n of every m, where n is given; before, with more
(measured: docs/balanced.md)."""
UNEQUAL_ASCENT, COUNT_ASCENT = 64.0, 16.0
"""What the multiplier of the variance, and that of the mean count, gain over a whole run per unit of theirs."""
LARGEST = 4.0
"""The multiplier of the variance goes no further below 0: a square is never quite 0, so it would only grow, and beyond
this hold up a tensor of few groups on its way to n (measured)."""
PENALTY = 8.0
"""Of the mean count: with less, a multiplier swings about n (measured on LeNet-5)."""


class Balance:
    """The balance of every tensor of a prepared model that is pruned in a balanced pattern."""

    def __init__(self, sites: Iterable[Transformed], steps: int) -> None:
        """steps: of the run that these pressures have to work in."""
        self._stages: dict[str, tuple[Transformed, BalancedPrune]] = {}
        for site in sites:
            if site.transform.prunes and isinstance(stage := site.transform.prune, BalancedPrune):
                self._stages[site.name] = (site, stage)
        self._steps = steps
        with torch.no_grad():
            self._start = {name: float(self._counts(name).sum()) for name in self._stages}
        self.multipliers = dict.fromkeys(self._stages, 0.0)
        """By tensor, of the variance: 0 to -LARGEST."""
        self.count_multipliers = dict.fromkeys(self._stages, 0.0)
        """By tensor, of its mean count: of either sign."""
        self._last: dict[str, tuple[float, float]] = {}
        self.narrow_(0.0)

    def narrow_(self, fraction: float) -> None:
        """What the network computes with at this fraction of the run, 0 to 1."""
        for _, stage in self._stages.values():
            stage.narrow_(min(1.0, fraction / NARROWED))

    def __call__(self, fraction: float) -> Tensor | float:
        """What is added to the loss at this fraction of the run, 0 to 1; differentiable."""
        total: Tensor | float = 0.0
        for name in self._stages:
            counts = self._counts(name)
            unequal, whole = self._variance(name, counts), counts.sum()
            tied = (whole / self._reference(name, fraction, float(whole.detach()))).log()
            total = total - self.multipliers[name] * unequal
            total = total + self.count_multipliers[name] * tied + PENALTY * tied.square()
            self._last[name] = (float(unequal.detach()), float(tied.detach()))
        return total

    def step(self) -> None:
        """Both multipliers ascend by what the last call found."""
        for name, (unequal, tied) in self._last.items():
            self.multipliers[name] = max(-LARGEST, self.multipliers[name] - UNEQUAL_ASCENT / self._steps * unequal)
            self.count_multipliers[name] += COUNT_ASCENT / self._steps * tied

    def variances(self) -> dict[str, float]:
        """By tensor, V in units of what chance gives, as the last call found it."""
        return {name: unequal for name, (unequal, _) in self._last.items()}

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        return {
            "multipliers": dict(self.multipliers),
            "counts": dict(self.count_multipliers),
            "start": dict(self._start),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.multipliers, self.count_multipliers = dict(state["multipliers"]), dict(state["counts"])
        self._start = dict(state["start"])

    def _counts(self, name: str) -> Tensor:
        site, stage = self._stages[name]
        return stage.group_counts(site.original)

    def _variance(self, name: str, counts: Tensor) -> Tensor:
        """V, in units of the variance that a mask at random of the same mean would have; that unit is a number."""
        _, stage = self._stages[name]
        sizes = counts.new_tensor(stage.patterns[0].sizes(stage.grouping.length))
        shares = sizes * (counts.sum() / (sizes.sum() * len(counts)))
        m, possible = stage.grouping.m, [pattern.n for pattern in stage.patterns]
        mean = float(counts.detach().sum()) / float(sizes.sum() * len(counts)) * m
        return (counts - shares).square().mean() / chance(min(max(mean, possible[0]), possible[-1]), m)

    def _reference(self, name: str, fraction: float, now: float) -> float:
        """What the sum of counts should be by now; what it is, where that may be."""
        site, start = self._stages[name][0], self._start[name]
        least, most = count_of(site, 0), count_of(site, -1)
        moving = start * (most / start) ** min(1.0, fraction / ARRIVAL)
        return moving if least == most else min(max(now, least), moving)
