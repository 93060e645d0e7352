"""What narrow widths would cost the task: the terms of the cost that hold against fewer bits.

US20200293893A1 adds a term for the quantization of weights to the cost, and one for that of feature maps. Ours are the
expected losses by rounding. The gradient of the task alone does not tell widths apart: straight-through, weights move
until the average over widths serves the task, whatever the shares are, and a cost in bits then takes every tensor to
its narrowest width. What a single width costs beyond that shows in second order (LeCun, Denker, Solla, "Optimal Brain
Damage", 1990, equation 3). For x the weights of a tensor, or the values of a feature map over a batch:

    Q = sum over tensors and maps, n of p_n E_n,   E_n = 1/2 sum over x of H_jj (DQ_n(x_j) - x_j)^2,   H_jj ~ B g_j^2

with g the gradient of the mean loss over a batch of B examples (empirical Fisher information, as Theis et al., "Faster
gaze prediction with dense networks and Fisher pruning", arXiv 1801.05787, section 2.2; a map has values of its own for
every example, whose gradients are those of the example's loss / B, and the B is the same). Q is differentiated in the
shares alone. Of a map some thousand values are looked at.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from secateur.errors import SecateurWarning
from secateur.nn.learned_width import LearnedWidth
from secateur.nn.map_quantize import MapQuantize
from secateur.nn.map_sites import MapSite
from secateur.nn.quantize import WidthQuantize
from secateur.nn.transform import Transformed

EVERY = 10
"""Steps between two looks at the gradients: a look costs about as much as a step's quantization at every width."""
KEPT = 0.95
"""What a moving average keeps of its past at every look."""
MAP = "map "
"""Before the name of a feature map, which could also be that of a tensor."""


class QuantizationLoss:
    """Q of a prepared model: `look` at gradients after optimizer steps, call it in the loss."""

    def __init__(self, sites: Iterable[Transformed], maps: Iterable[MapSite] = ()) -> None:
        self._sites, self._maps = tuple(sites), tuple(maps)
        self._looks, self._told = 0, False
        self._errors: dict[str, Tensor] = {}
        """By name E_n of every width, moving averages."""

    def __call__(self) -> Tensor:
        """Q, a scalar; 0 until widths learn."""
        total = torch.zeros(())
        for name, stage in (self._weights() | self._values()).items():
            if (errors := self._errors.get(name)) is not None:
                total = total + (stage.shares() @ errors.to(stage.log_range.device)).to(total.device)
        return total

    @torch.no_grad()
    def by_name(self) -> dict[str, float]:
        """The part of Q that every tensor and feature map has, by its name in the plan."""
        found = {}
        for name, stage in (self._weights() | self._values()).items():
            if (errors := self._errors.get(name)) is not None:
                found[name.removeprefix(MAP)] = float(stage.shares().cpu() @ errors)
        return found

    @torch.no_grad()
    def look(self, batch: int) -> None:
        """Take this step's gradients, those of a batch of so many examples, into account: one call in EVERY."""
        weights, values = self._weights(), self._values()
        if not weights and not values:
            return
        self._looks += 1
        if self._looks % EVERY == 1:
            for site in self._sites:
                if site.name in weights:
                    self._take(site.name, batch, _lost_by_weights(site, weights[site.name]))
            for name, quantizer in values.items() if self._looks > 1 else ():
                self._take(name, batch, _lost_by_values(quantizer))
        self._watch(values)

    def state_dict(self) -> dict[str, Any]:
        """The moving averages; plain numbers."""
        return {"looks": self._looks, "errors": {name: errors.tolist() for name, errors in self._errors.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken; the model's state is loaded first."""
        self._looks = state["looks"]
        self._errors = {name: torch.tensor(errors, dtype=torch.float32) for name, errors in state["errors"].items()}
        self._watch(self._values())

    def _weights(self) -> dict[str, WidthQuantize]:
        stages = ((site.name, site.transform.quantize) for site in self._sites)
        return {name: stage for name, stage in stages if stage is not None and _learns(stage)}

    def _values(self) -> dict[str, MapQuantize]:
        return {MAP + site.name: site.quantizer for site in self._maps if _learns(site.quantizer)}

    def _watch(self, values: Mapping[str, MapQuantize]) -> None:
        """Before a step whose gradients are looked at."""
        for quantizer in values.values():
            quantizer.watching = self._looks > 0 and self._looks % EVERY == 0

    def _take(self, name: str, batch: int, lost: Tensor | None) -> None:
        if lost is None:
            self._tell(name)
            return
        new = batch * lost.cpu()
        old = self._errors.get(name)
        self._errors[name] = new if old is None else KEPT * old + (1 - KEPT) * new

    def _tell(self, name: str) -> None:
        if not self._told:
            self._told = True
            warnings.warn(
                f"{name} has no gradient when budget.step() is called, so nothing holds its bit width up: call "
                "optimizer.zero_grad() before loss.backward(), not between optimizer.step() and budget.step(); where "
                "the model is compiled, the gradients of feature maps are not seen: train it as it is",
                SecateurWarning,
                stacklevel=5,
            )


def _learns(stage: LearnedWidth) -> bool:
    return stage.theta is not None and stage.learning is not None


def _lost_by_weights(site: Transformed, stage: WidthQuantize) -> Tensor | None:
    """E_n / B of every width, by the gradient of this step; None where there is none."""
    if site.original.grad is None:
        return None
    left = site.transform.survivors(site.original).float()
    squared = site.original.grad.float().square()
    return torch.stack([(squared * (stage.nearest(left, bits) - left).square()).sum() / 2 for bits in stage.widths])


def _lost_by_values(quantizer: MapQuantize) -> Tensor | None:
    """The same of a map, by the values that were watched."""
    watched, quantizer.watched = quantizer.watched, None
    if watched is None:
        return None
    squared = watched.gradient.square() / watched.share
    errors = [(quantizer.nearest(watched.values, bits) - watched.values).square() for bits in quantizer.widths]
    return torch.stack([(squared * error).sum() / 2 for error in errors])
