"""The sparsest network whose loss on validation data stays within a limit.

Self-pruning passes through every density from 1 to its target. After its epochs the soft network is kept as a
candidate; where the target itself costs too much, candidates are hardened and fine-tuned like any network, and
bisection over them finds the sparsest that holds. Only validation data is looked at.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from torch import nn

from secateur.compression.checkpoint import from_bytes, to_bytes
from secateur.compression.line import Line, Passed
from secateur.errors import DataError
from secateur.ir.target import Target
from secateur.train.record import Record
from secateur.train.schedule import Schedule

SPARSEST = 0.02
"""Density that self-pruning heads for where max_drop is the only wish."""
STEP_DOWN = 0.85
"""A candidate is kept once the density fell to this share of the last one's."""
CANDIDATES, TRIALS = "candidates.json", "trials.json"


@dataclass(frozen=True)
class Within:
    """What the search came to: the network, and what of the wish it does not hold, in words."""

    passed: Passed
    missed: tuple[str, ...]
    notes: tuple[str, ...]


def within_drop(line: Line, target: Target, schedule: Schedule) -> Within:
    """Train for the whole target; if that loses more than target.max_drop, look for the sparsest that does not."""
    assert target.max_drop is not None
    if math.isnan(line.score_dense):
        raise DataError("max_drop needs a score of the dense model: the task's val gave no batch, or a metric of NaN")
    sizes = target if target.wishes() else dataclasses.replace(target, density=SPARSEST)
    whole = line.train("state", sizes, schedule, seen=_Collector(line))
    if line.within(target.max_drop, line.drop(whole.score)):
        return Within(whole, (), ())
    search = _Search(line, dataclasses.replace(schedule, prune_epochs=0), target.max_drop)
    lost = f"{_sizes(sizes)} loses {line.drop(whole.score):.4g} on validation"
    best = search.sparsest()
    if best is None:
        missed = f"max_drop {target.max_drop:g}: {lost}, and so does every density tried on the way ({search.told()})"
        return Within(whole, (missed,), ())
    found = search.train(best)
    if not target.wishes():
        return Within(found, (), (f"{lost}; tried below it: {search.told()}",))
    missed = f"{_sizes(sizes)} and max_drop {target.max_drop:g} do not hold together: {lost}"
    return Within(found, (missed,), (f"the sparsest within max_drop is what was packed; tried: {search.told()}",))


class _Collector:
    """Keeps candidates while the network prunes itself. Repeating an epoch after an interruption repeats its files."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def __call__(self, model: nn.Module, record: Record) -> None:
        if record.phase != "prune":
            return
        sizes = {row.name: row.size for row in self._line.plan}
        total = sum(sizes[name] for name in record.density)
        density = sum(share * sizes[name] for name, share in record.density.items()) / total
        kept = [row for row in candidates(self._line) if row["epoch"] < record.epoch]
        if density <= STEP_DOWN * min((row["density"] for row in kept), default=1.0):
            self._line.folder.write(_file(record.epoch), to_bytes({"model": model.state_dict()}))
            kept.append({"epoch": record.epoch, "density": density})
            self._line.folder.write_json(CANDIDATES, {"candidates": kept})


def candidates(line: Line) -> list[dict[str, Any]]:
    """Epoch and density of every candidate, the densest first."""
    return (line.folder.read_json(CANDIDATES) or {"candidates": []})["candidates"]


class _Search:
    """Bisection over the candidates; every trial is kept, so that an interrupted search goes on."""

    def __init__(self, line: Line, schedule: Schedule, limit: float) -> None:
        self._line, self._schedule, self._limit = line, schedule, limit
        self._rows = candidates(line)
        self._tried: dict[str, float] = (line.folder.read_json(TRIALS) or {"drops": {}})["drops"]

    def sparsest(self) -> int | None:
        """Number of the sparsest candidate that holds the limit once fine-tuned; None where not even the densest."""
        low, high = -1, len(self._rows)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._line.within(self._limit, self._drop(middle)) else (low, middle)
        return None if low < 0 else low

    def train(self, number: int) -> Passed:
        """Harden a candidate to its own density and fine-tune it."""
        row = self._rows[number]
        start = from_bytes((self._line.folder.path / _file(row["epoch"])).read_bytes())["model"]
        target = Target(density=row["density"], values=self._line.values)
        return self._line.train(f"trial-{number}", target, self._schedule, start=start)

    def told(self) -> str:
        """What was tried, in words."""
        tried = sorted((self._rows[int(number)]["density"], drop) for number, drop in self._tried.items())
        return ", ".join(f"density {density:.3g} loses {drop:.4g}" for density, drop in tried) or "nothing"

    def _drop(self, number: int) -> float:
        key = str(number)
        if key not in self._tried:
            self._tried[key] = self._line.drop(self.train(number).score)
            self._line.folder.write_json(TRIALS, {"drops": self._tried})
        return self._tried[key]


def _file(epoch: int) -> str:
    return f"candidate-{epoch:04d}.state"


def _sizes(target: Target) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in target.wishes().items())
