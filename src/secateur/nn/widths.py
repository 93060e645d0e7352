"""Which bit width every quantized weight gets when it is hardened: the most probable ones, and narrower where a target
asks for it, those first that cost least.

Cost (ours): how much the squared change of a tensor's weights grows, relative to their energy, for every bit saved, or
for every bit operation where these are limited, to which feature maps then contribute as well (`nn.map_widths`). The
range of a width that was not the one learned is fitted anew, to the least squared change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from secateur.ir.plan_rows import TensorPlan
from secateur.nn.bit_operations import bit_operations, read_by
from secateur.nn.map_sites import MapSite
from secateur.nn.map_widths import MapWidths, NarrowerMap
from secateur.nn.quantize import WidthQuantize
from secateur.nn.transform import Transformed

Masks = Mapping[str, Tensor]
"""By name the mask of every site that is pruned."""


Step = tuple[float, str, "_Narrower | NarrowerMap"]
"""What a step down costs, whose it is, and the step."""


@dataclass(frozen=True)
class _Narrower:
    """A step down: the width, the range that fits it, and the relative error it adds."""

    bits: int
    log_range: Tensor
    lost: float


class Widths:
    """The widths of a prepared model's quantized weights, by name in `bits`, and of its feature maps, in `maps`, while
    it is decided how to harden it."""

    def __init__(self, sites: Iterable[Transformed], maps: Iterable[MapSite] = ()) -> None:
        self._stages: dict[str, WidthQuantize] = {}
        self._weights: dict[str, Tensor] = {}
        self._rows: dict[str, TensorPlan] = {}
        self._fitted: dict[tuple[str, int, int], _Narrower] = {}
        self._taken: list[tuple[str, int, Tensor]] = []
        self.maps = MapWidths(maps)
        for site in sites:
            self._rows[site.name] = site.transform.row
            self._weights[site.name] = site.original.detach()
            if site.transform.quantize is not None:
                self._stages[site.name] = site.transform.quantize
        self._reads = read_by(self._rows, [site.row for site in self.maps.sites.values()])
        self.bits = {name: stage.width() for name, stage in self._stages.items()}

    @torch.no_grad()
    def begin(self, masks: Masks) -> None:
        """Ranges for the stages that were never switched on, or have learned nothing since, fitted to the weights under
        these masks, and for maps."""
        self.maps.begin()
        for name, stage in self._stages.items():
            stage.settle(self._left(name, masks), self.bits[name])

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

        def cost(name: str) -> float:
            return steps[name].lost / (self._kept(name, masks) * (self.bits[name] - steps[name].bits))

        name = min(steps, key=cost)
        self._take(name, steps[name])
        return True

    @torch.no_grad()
    def widen(self, fits: Callable[[], bool]) -> None:
        """Take back steps down that turn out not to be needed, the latest first: a large tensor's last step can save
        far more than was asked. fits: whether the target holds with the widths as they are, as it does now."""
        needed = set()
        for name, bits, log_range in reversed(self._taken):
            if name in needed:
                continue
            narrower = self.bits[name], self._stages[name].log_range.detach().clone()
            self._put(name, bits, log_range)
            if not fits():
                self._put(name, *narrower)
                needed.add(name)
        self._taken.clear()

    @property
    def are_operations_known(self) -> bool:
        """Whether any tensor has a known number of multiply-accumulates."""
        return any(row.reuse for row in self._rows.values())

    def operations(self, masks: Masks) -> int:
        """Bit operations for one example."""
        return self._operations(masks, self.bits, self.maps.bits)

    @torch.no_grad()
    def narrow_operations(self, masks: Masks) -> bool:
        """One tensor or feature map becomes one width narrower, the one where that costs least for every bit operation
        saved; False where none saves any."""
        now, best = self.operations(masks), None
        for name, step in ((name, self._step(name, masks)) for name in self.bits):
            if step and (saved := now - self._operations(masks, {**self.bits, name: step.bits}, self.maps.bits)):
                best = _better(best, (step.lost / saved, name, step))
        for name, step in ((name, self.maps.step(name)) for name in self.maps.bits):
            if step and (saved := now - self._operations(masks, self.bits, {**self.maps.bits, name: step.bits})):
                best = _better(best, (step.lost / saved, name, step))
        if best is None:
            return False
        _, name, step = best
        if isinstance(step, NarrowerMap):
            self.maps.bits[name] = step.bits
        else:
            self._take(name, step)
        return True

    def harden(self) -> None:
        """Fix the widths, in place."""
        self.maps.harden()
        for name, stage in self._stages.items():
            stage.harden(self.bits[name])

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """Ranges and temperatures as they were, should anything inside raise."""
        before = {name: (stage.log_range.detach().clone(), stage.tau) for name, stage in self._stages.items()}
        maps = self.maps.state()
        try:
            yield
        except BaseException:
            self.maps.restore(maps)
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
        # Masks of one search keep the largest scores, so that as many weights are the same weights.
        key = name, bits, kept
        if key not in self._fitted:
            self._fitted[key] = self._narrower(name, masks, bits, narrower[-1])
        return self._fitted[key]

    def _narrower(self, name: str, masks: Masks, bits: int, narrower: int) -> _Narrower:
        stage, left = self._stages[name], self._left(name, masks)
        log_range = stage.fitted(left, narrower)
        before, after = stage.nearest(left, bits), stage.nearest(left, narrower, log_range)
        energy = float(left.double().square().sum()) or 1.0
        lost = float((after - left).double().square().sum() - (before - left).double().square().sum()) / energy
        return _Narrower(narrower, log_range, lost)

    def _take(self, name: str, step: _Narrower) -> None:
        self._taken.append((name, self.bits[name], self._stages[name].log_range.detach().clone()))
        self._put(name, step.bits, step.log_range)

    def _put(self, name: str, bits: int, log_range: Tensor) -> None:
        self.bits[name] = bits
        self._stages[name].log_range.copy_(log_range)

    def _operations(self, masks: Masks, bits: Mapping[str, int], map_bits: Mapping[str, int]) -> int:
        macs = {name: row.reuse * self._kept(name, masks) for name, row in self._rows.items()}
        return bit_operations(macs, bits, map_bits, self._reads)

    def _left(self, name: str, masks: Masks) -> Tensor:
        weight = self._weights[name]
        return torch.where(masks[name], weight, 0.0) if name in masks else weight

    def _kept(self, name: str, masks: Masks) -> int:
        return int(masks[name].sum() if name in masks else torch.count_nonzero(self._weights[name]))


def _better(best: Step | None, step: Step) -> Step:
    return step if best is None or step[0] < best[0] else best
