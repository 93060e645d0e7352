"""Which pattern every tensor gets that may have one, n of every m: the one of its plan, or of several the largest that
a target allows.

Cost of a smaller n (ours): how much more of the tensor's energy is lost, relative to all of it, for every weight that
goes, or for every multiply-accumulate where these are limited. Energy is that of the weights the network computed with:
what is softly cut already costs nothing. The cheapest steps down are taken until the target is met, and then what still
fits goes up again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from secateur.errors import PlanError
from secateur.ir.pattern import GroupCounts
from secateur.ir.target import Target
from secateur.nn.transform import Transformed

AGREES = 1e-3
"""How far the density of a target may be from that of a plan's patterns, relative to it."""


@dataclass(frozen=True)
class _Step:
    """From one pattern of a tensor to the next smaller one."""

    cost: float
    name: str


class Patterns:
    """The masks of all sites that have patterns, by name in `masks`, while it is decided which."""

    def __init__(self, sites: Sequence[Transformed], scores: Sequence[Tensor], energies: Sequence[Tensor]) -> None:
        self.sites = {site.name: site for site in sites}
        self._choices: dict[str, list[Tensor]] = {}
        self._lost: dict[str, list[float]] = {}
        for site, score, energy in zip(sites, scores, energies, strict=True):
            stage = site.transform.prune
            masks = self._choices[site.name] = [stage.project(score, pattern) for pattern in stage.patterns]
            whole = float(energy.double().sum()) or 1.0
            self._lost[site.name] = [float(energy.double().masked_fill(mask, 0).sum()) / whole for mask in masks]
        self._chosen = {name: len(masks) - 1 for name, masks in self._choices.items()}

    @property
    def masks(self) -> dict[str, Tensor]:
        """By name, of the patterns as they are chosen by now."""
        return {name: self._choices[name][place] for name, place in self._chosen.items()}

    @property
    def kept(self) -> int:
        """Weights under all of these masks."""
        return sum(int(mask.sum()) for mask in self.masks.values())

    @property
    def size(self) -> int:
        """Weights of all of these tensors."""
        return sum(site.original.numel() for site in self.sites.values())

    @property
    def choose(self) -> bool:
        """Whether any tensor has several patterns."""
        return any(len(masks) > 1 for masks in self._choices.values())

    def fit(self, excess: Callable[[], str], target: Target) -> None:
        """Choose: excess says what of a target does not hold with the patterns as they are."""
        steps = self._steps(target)
        low, high = -1, len(steps)  # low steps are too few, high are enough or all there are
        while high - low > 1:
            middle = (low + high) // 2
            self._take(steps[:middle])
            low, high = (middle, high) if excess() else (low, middle)
        self._take(steps[:high])
        if high and not excess():
            self._raise(reversed([step.name for step in steps[:high]]), excess)

    def _steps(self, target: Target) -> list[_Step]:
        """All there are, the cheapest first, those of one tensor in their order."""
        open_steps = {name: len(masks) - 1 for name, masks in self._choices.items()}
        found = []
        while True:
            next_ones = [
                _Step(self._cost(name, place, target), name) for name, place in open_steps.items() if place > 0
            ]
            if not next_ones:
                return found
            found.append(min(next_ones, key=lambda step: step.cost))
            open_steps[found[-1].name] -= 1

    def _cost(self, name: str, place: int, target: Target) -> float:
        masks, lost = self._choices[name], self._lost[name]
        saved = int(masks[place].sum()) - int(masks[place - 1].sum())
        if target.macs is not None:
            saved *= max(1, self.sites[name].transform.row.reuse)
        return (lost[place - 1] - lost[place]) / max(1, saved)

    def _take(self, steps: Sequence[_Step]) -> None:
        self._chosen = {name: len(masks) - 1 for name, masks in self._choices.items()}
        for step in steps:
            self._chosen[step.name] -= 1

    def _raise(self, names: Iterable[str], excess: Callable[[], str]) -> None:
        for name in dict.fromkeys(names):
            self._chosen[name] += 1
            if excess():
                self._chosen[name] -= 1


def refuse_other_density(sites: Sequence[Transformed], target: Target) -> None:
    """PlanError where a plan gives every tensor that it prunes one pattern, and a target names another density."""
    pruned = [site for site in sites if site.transform.prunes]
    if target.density is None or not pruned or not all(site.transform.prune.is_fixed for site in pruned):
        return
    total = sum(site.original.numel() for site in pruned)
    nominal = sum(site.original.numel() * site.transform.prune.patterns[0].density for site in pruned) / total
    exact = sum(count_of(site) for site in pruned) / total
    if not (1 - AGREES) * nominal <= target.density <= (1 + AGREES) * exact:
        raise PlanError(
            f"the target's density {target.density:g} and the patterns of the plan, which leave {exact:.6g}, do not "
            "agree: name that density, or give the plan other patterns or several n to choose from"
        )


def count_of(site: Transformed, place: int = 0) -> int:
    """Weights that a pattern of a tensor leaves, the one at this place of those it may have."""
    stage = site.transform.prune
    return stage.patterns[place].kept_in(site.original.numel(), stage.grouping.length)


@torch.no_grad()
def group_counts(site: Transformed, before: Tensor, after: Tensor) -> GroupCounts:
    """How many groups have how many weights under two masks."""
    grouping = site.transform.prune.grouping
    found = [torch.bincount(grouping.counts(mask.float()).flatten().long()).tolist() for mask in (before, after)]
    return GroupCounts(*map(tuple, found))
