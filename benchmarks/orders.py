"""Pruning and quantizing one after another, in either order: the same library, budget and epochs as learning them
together, but that one of the two is finished before the other begins.

A run's pruning phase is split at FIRST of its steps; fine-tuning comes after both, as for every method. In either order
`bits` are the widths offered; what is decided first is decided for the middle of them, as the second is not known yet.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

import secateur as sct
from secateur.nn.harden import MaskOptions, masks_by_score
from secateur.nn.packing import Packing
from secateur.nn.refit import refit_
from secateur.nn.transform import transforms_of
from secateur.nn.widths import Widths
from self_pruning import SelfPruning

FIRST = 0.5
"""Fraction of the pruning phase that what comes first has."""


class InOrder(SelfPruning, ABC):
    """Two budgets one after another, with a decision between them."""

    def __init__(
        self,
        model: nn.Module,
        example: Tensor,
        density: float,
        steps: int,
        *,
        packed_bytes: int,
        bits: int | list[int],
        **rule: Any,
    ) -> None:
        super().__init__(model, example, density, steps, packed_bytes=packed_bytes, bits=bits, **rule)
        self.steps, self.taken, self.switch = steps, 0, round(FIRST * steps)
        self.offered = sct.Quantize(bits).bits
        self.budget = self.first()

    def step(self) -> None:
        self.budget.step()
        self.taken += 1
        if self.taken == self.switch:
            self.decide()
            self.budget = self.second()

    def state_dict(self) -> dict[str, Any]:
        return {"taken": self.taken, "budget": self.budget.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.taken = state["taken"]
        if self.taken >= self.switch:
            self.budget = self.second()
        self.budget.load_state_dict(state["budget"])

    @abstractmethod
    def first(self) -> sct.Budget:
        """What the first half is under; makes the model ready for it."""

    @abstractmethod
    def decide(self) -> None:
        """Fix what was learned in the first half."""

    @abstractmethod
    def second(self) -> sct.Budget:
        """What the second half is under."""


class PruneThenQuantize(InOrder):
    """Thresholds learned under the limit, a code counted at the mean of the widths offered; then masks are fixed, such
    that the real file holds the limit with codes of the middle width; then widths are learned under the same limit."""

    def first(self) -> sct.Budget:
        return self.under_limit(self.switch, quantize_at=1.0)

    @torch.no_grad()
    def decide(self) -> None:
        sites = transforms_of(self.model)
        widths = Widths(sites)
        widths.bits = dict.fromkeys(widths.bits, self.offered[len(self.offered) // 2])
        scores = [site.transform.prune.score(site.original) for site in sites]
        masks, _ = masks_by_score(
            self.model, sites, scores, self.target, MaskOptions(0.0, self.example, widths, sort=True)
        )
        for site, mask in zip(sites, masks, strict=True):
            site.transform.prune.harden(torch.empty_like(site.original, dtype=torch.bool).copy_(mask))

    def second(self) -> sct.Budget:
        return self.under_limit(self.steps - self.switch, quantize_at=0.0)

    @torch.no_grad()
    def harden(self) -> None:
        sites = transforms_of(self.model)
        masks = {site.name: site.transform.prune.mask for site in sites}
        widths, packing = Widths(sites), Packing(self.model, self.example, self.target.values, sort=True)
        widths.begin(masks)
        while packing.excess(masks, self.target, widths.bits) and widths.narrow(masks):
            pass
        widths.harden()
        refit_(self.model, self.target, self.example, sort=True)


class QuantizeThenPrune(InOrder):
    """Widths learned while all weights stay, the mean of those offered on average; then they are fixed, and thresholds
    are learned under the limit, of weights that stay quantized."""

    def first(self) -> sct.Budget:
        for site in transforms_of(self.model):
            site.transform.prune.harden(torch.ones_like(site.original, dtype=torch.bool))
        target = sct.Target(average_bits=sum(self.offered) / len(self.offered))
        return sct.Budget(self.model, target, steps=self.switch, quantize_at=0.0)

    @torch.no_grad()
    def decide(self) -> None:
        sites = transforms_of(self.model)
        masks = {site.name: site.transform.prune.mask for site in sites}
        widths = Widths(sites)
        widths.begin(masks)
        while widths.average(masks) > sum(self.offered) / len(self.offered) and widths.narrow(masks):
            pass
        widths.harden()
        for site in sites:
            site.transform.prune.mask = None

    def second(self) -> sct.Budget:
        return self.under_limit(self.steps - self.switch)
