"""What narrow widths would cost the task: the term of the cost that holds against fewer bits.

US20200293893A1 adds a term for the quantization of weights to the cost. Ours is the expected loss by rounding. The
gradient of the task alone does not tell widths apart: straight-through, weights move until the average over widths
serves the task, whatever the shares are, and a cost in bits then takes every tensor to its narrowest width. What a
single width costs beyond that shows in second order (LeCun, Denker, Solla, "Optimal Brain Damage", 1990, equation 3):

    Q = sum over tensors, n of p_n E_n,   E_n = 1/2 sum over weights of H_jj (DQ_n(w_j) - w_j)^2,   H_jj ~ B g_j^2

with g the gradient of the mean loss over a batch of B examples (empirical Fisher information, as Theis et al., "Faster
gaze prediction with dense networks and Fisher pruning", arXiv 1801.05787, section 2.2). Q is differentiated in the
shares alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from secateur.errors import SecateurWarning
from secateur.nn.quantize import WidthQuantize
from secateur.nn.transform import Transformed

EVERY = 10
"""Steps between two looks at the gradients: a look costs about as much as a step's quantization at every width."""
KEPT = 0.95
"""What a moving average keeps of its past at every look."""


class QuantizationLoss:
    """Q of a prepared model: `look` at gradients after optimizer steps, call it in the loss."""

    def __init__(self, sites: Iterable[Transformed]) -> None:
        self._sites = tuple(site for site in sites if site.transform.quantize is not None)
        self._looks, self._told = 0, False
        self._errors: dict[str, Tensor] = {}
        """By site E_n of every width, moving averages."""

    def __call__(self) -> Tensor:
        """Q, a scalar; 0 until widths learn."""
        total = torch.zeros(())
        for site, stage in self._learning():
            if (errors := self._errors.get(site.name)) is not None:
                total = total + stage.shares() @ errors.to(stage.log_range.device)
        return total

    @torch.no_grad()
    def look(self, batch: int) -> None:
        """Take this step's gradients, those of a batch of so many examples, into account: one call in EVERY."""
        learning = self._learning()
        if not learning:
            return
        self._looks += 1
        if self._looks % EVERY != 1:
            return
        for site, stage in learning:
            if site.original.grad is None:
                self._tell(site.name)
                continue
            new = batch * _lost(site, stage).cpu()
            old = self._errors.get(site.name)
            self._errors[site.name] = new if old is None else KEPT * old + (1 - KEPT) * new

    def state_dict(self) -> dict[str, Any]:
        """The moving averages; plain numbers."""
        return {"looks": self._looks, "errors": {name: errors.tolist() for name, errors in self._errors.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self._looks = state["looks"]
        self._errors = {name: torch.tensor(errors) for name, errors in state["errors"].items()}

    def _learning(self) -> list[tuple[Transformed, WidthQuantize]]:
        stages = [(site, site.transform.quantize) for site in self._sites]
        return [
            (site, stage) for site, stage in stages if stage and stage.learning is not None and stage.theta is not None
        ]

    def _tell(self, name: str) -> None:
        if not self._told:
            self._told = True
            warnings.warn(
                f"{name} has no gradient when budget.step() is called, so nothing holds its bit width up: call "
                "optimizer.zero_grad() before loss.backward(), not between optimizer.step() and budget.step()",
                SecateurWarning,
                stacklevel=4,
            )


def _learns(stage: WidthQuantize) -> bool:
    return stage.theta is not None and stage.learning is not None


def _lost(site: Transformed, stage: WidthQuantize) -> Tensor:
    """E_n / B of every width, by the gradient of this step."""
    left = site.transform.survivors(site.original)
    assert site.original.grad is not None
    squared = site.original.grad.float().square()
    return torch.stack([(squared * (stage.nearest(left, bits) - left).square()).sum() / 2 for bits in stage.widths])
