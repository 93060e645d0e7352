"""Trials: candidates of a run, hardened and fine-tuned like any network, to see whether they hold a limit."""

from __future__ import annotations

import dataclasses
import math

from secateur.compression.candidates import Candidates
from secateur.compression.line import Line, Passed
from secateur.train.schedule import Schedule

TRIALS = "trials.json"


class Trials:
    """What was tried by now, and more on demand. Every trial is kept, so that an interrupted search goes on."""

    def __init__(self, line: Line, candidates: Candidates, schedule: Schedule, limit: float) -> None:
        """schedule: of the run, whose fine-tuning every trial gets; limit: the largest drop."""
        self._line, self._candidates, self._limit = line, candidates, limit
        self._schedule = dataclasses.replace(schedule, prune_epochs=0)

    @property
    def drops(self) -> dict[int, float]:
        """Number of a candidate -> its drop once it was fine-tuned."""
        told = (self._line.folder.read_json(TRIALS) or {"drops": {}})["drops"]
        return {int(number): math.nan if drop is None else drop for number, drop in told.items()}

    def holds(self, number: int) -> bool:
        """Whether a candidate stays within the limit once fine-tuned: looked up, or tried now."""
        if number not in self.drops:
            drops = {**self.drops, number: self._line.drop(self.train(number).score)}
            plain = {str(one): drop if math.isfinite(drop) else None for one, drop in sorted(drops.items())}
            self._line.folder.write_json(TRIALS, {"drops": plain})
        return self._line.within(self._limit, self.drops[number])

    def train(self, number: int) -> Passed:
        """Harden a candidate to its own density and fine-tune it, or read that from where it was kept."""
        target = self._candidates.cut_to(self._candidates.kept[number]["density"])
        return self._line.train(f"trial-{number}", target, self._schedule, start=self._candidates.state(number))

    def sparsest(self) -> int | None:
        """Number of the sparsest candidate that holds the limit, by bisection; None where not even the densest does.

        As always, what is sparser is taken to lose more.
        """
        known = {number: self.holds(number) for number in self.drops}
        low = max((number for number, holds in known.items() if holds), default=-1)
        above = [number for number, holds in known.items() if not holds and number > low]
        high = min(above, default=len(self._candidates.kept))
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.holds(middle) else (low, middle)
        return None if low < 0 else low

    def won_back(self) -> float:
        """The most that fine-tuning won back in a trial, in the metric's unit; 0 before the first one."""
        rows = self._candidates.kept
        pairs = [(rows[number]["drop"], drop) for number, drop in self.drops.items()]
        won = [before - after for before, after in pairs if before is not None and not math.isnan(after)]
        return max(won, default=0.0)

    def told(self) -> str:
        """What was tried, in words."""
        rows = self._candidates.kept
        tried = sorted((rows[number]["density"], drop) for number, drop in self.drops.items())
        return ", ".join(f"density {density:.3g} loses {drop:.4g}" for density, drop in tried) or "nothing"
