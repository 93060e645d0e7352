"""Which bit width every quantized weight gets when it is hardened: the most probable ones, and narrower where a target
asks for it, those first that cost least.

Cost (ours): how much the squared change of a tensor's weights grows, relative to their energy, for every bit saved. The
range of a width that was not the one learned is fitted anew, to the least squared change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from secateur.nn.quantize import WidthQuantize
from secateur.nn.transform import Transformed

Masks = Mapping[str, Tensor]
"""By name the mask of every site that is pruned."""


@dataclass(frozen=True)
class _Narrower:
    """A step down: the width, the range that fits it, and what it costs a bit."""

    bits: int
    log_range: Tensor
    cost: float


class Widths:
    """The widths of a prepared model's quantized weights while it is decided how to harden it. `bits` is by name."""

    def __init__(self, sites: Iterable[Transformed]) -> None:
        self._stages: dict[str, WidthQuantize] = {}
        self._weights: dict[str, Tensor] = {}
        for site in sites:
            if site.transform.quantize is not None:
                self._stages[site.name] = site.transform.quantize
                self._weights[site.name] = site.original.detach()
        self.bits = {name: stage.width() for name, stage in self._stages.items()}

    @torch.no_grad()
    def begin(self, masks: Masks) -> None:
        """Ranges for the stages that were never switched on, fitted to the weights under these masks."""
        for name, stage in self._stages.items():
            if not stage.is_on:
                left = self._left(name, masks)
                stage.start(left)
                stage.log_range.copy_(stage.fitted(left, self.bits[name]))

    def average(self, masks: Masks) -> float:
        """Mean width over the weights that stay; 0 where none does."""
        kept = {name: self._kept(name, masks) for name in self.bits}
        total = sum(kept.values())
        return sum(kept[name] * bits for name, bits in self.bits.items()) / total if total else 0.0

    @torch.no_grad()
    def narrow(self, masks: Masks) -> bool:
        """One tensor becomes one width narrower, the one where that costs least; False where none with weights can."""
        steps = {name: step for name in self.bits if (step := self._step(name, masks))}
        if not steps:
            return False
        name = min(steps, key=lambda one: steps[one].cost)
        self.bits[name] = steps[name].bits
        self._stages[name].log_range.copy_(steps[name].log_range)
        return True

    def harden(self) -> None:
        """Fix the widths, in place."""
        for name, stage in self._stages.items():
            stage.harden(self.bits[name])

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """Ranges and temperatures as they were, should anything inside raise."""
        before = {name: (stage.log_range.detach().clone(), stage.tau) for name, stage in self._stages.items()}
        try:
            yield
        except BaseException:
            for name, (log_range, tau) in before.items():
                self._stages[name].log_range.data.copy_(log_range)
                self._stages[name].tau = tau
            raise

    def _step(self, name: str, masks: Masks) -> _Narrower | None:
        stage, bits = self._stages[name], self.bits[name]
        narrower = [width for width in stage.widths if width < bits]
        kept = self._kept(name, masks)
        if not (narrower and kept):
            return None
        left = self._left(name, masks)
        log_range = stage.fitted(left, narrower[-1])
        before, after = stage.nearest(left, bits), stage.nearest(left, narrower[-1], log_range)
        energy = float(left.double().square().sum()) or 1.0
        lost = float((after - left).double().square().sum() - (before - left).double().square().sum()) / energy
        return _Narrower(narrower[-1], log_range, lost / (kept * (bits - narrower[-1])))

    def _left(self, name: str, masks: Masks) -> Tensor:
        weight = self._weights[name]
        return torch.where(masks[name], weight, 0.0) if name in masks else weight

    def _kept(self, name: str, masks: Masks) -> int:
        return int(masks[name].sum() if name in masks else torch.count_nonzero(self._weights[name]))
