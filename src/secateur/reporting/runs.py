"""Several runs beside one another: the score each keeps, what it is charged for it, and which no other run beats."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from secateur.errors import DataError
from secateur.ir.describe import FLOAT32_BYTES
from secateur.reporting.facts import Facts
from secateur.reporting.layers import PRUNED
from secateur.reporting.measurement import Change

COSTS = ("file_bytes", "density")
"""What a run is charged: fields of a Run, one chart each."""

ROUNDING = 1e-6
"""Scores that differ by less, relatively, are equal: sums in float32 in another order."""


@dataclass(frozen=True)
class Run:
    """One run among several.

    label       what charts call it
    title       of its report
    score       before: of the dense model; after: of the compressed one
    file_bytes  of the whole file
    density     fraction of the weights that stays, over what `density_of` names
    best_in     the COSTS by which no other run beats it: none is as good for less, or better for as much
    """

    label: str
    title: str
    score: Change
    file_bytes: int
    density: float
    density_of: str
    environment: Mapping[str, str]
    best_in: tuple[str, ...] = ()


def runs_of(reports: Mapping[str, Facts]) -> tuple[Run, ...]:
    """The runs with the best ones marked. DataError where there is none, one has no score, or measures differ."""
    if not reports:
        raise DataError("nothing to compare: name at least one run")
    runs = [_run(label, facts) for label, facts in reports.items()]
    _check_alike(runs)
    return tuple(dataclasses.replace(run, best_in=_best_in(run, runs)) for run in runs)


def _run(label: str, facts: Facts) -> Run:
    scores = [change for change in facts.summary if change.after.is_score]
    if not scores:
        raise DataError(f"{label}: no row of the report's summary says how good the model is, so it cannot be compared")
    density, of = _density(facts)
    return Run(label, facts.title, scores[0], facts.file_bytes, density, of, facts.environment)


def _density(facts: Facts) -> tuple[float, str]:
    """Of the pruned tensors where the report knows them, else of all in the file."""
    pruned = [row for row in facts.layers if row.fate == PRUNED]
    if weights := sum(row.weights for row in pruned):
        return sum(row.nonzeros for row in pruned) / weights, f"{len(pruned)} pruned tensors"
    elements = sum(row.float32_bytes for row in facts.tensors) // FLOAT32_BYTES
    return sum(row.nonzeros for row in facts.tensors) / max(1, elements), f"all {len(facts.tensors)} tensors"


def _check_alike(runs: Iterable[Run]) -> None:
    first, *others = runs
    one = first.score.after
    for run in others:
        other = run.score.after
        if (one.name, one.unit, one.is_higher_better) != (other.name, other.unit, other.is_higher_better):
            raise DataError(
                f"{first.label} is judged by {one.name} in {one.unit}, {run.label} by {other.name} in {other.unit}: "
                "compare runs that share a measure"
            )


def _best_in(run: Run, runs: Iterable[Run]) -> tuple[str, ...]:
    if not math.isfinite(run.score.after.value):
        return ()
    return tuple(cost for cost in COSTS if not any(_beats(other, run, cost) for other in runs))


def _beats(one: Run, other: Run, cost: str) -> bool:
    """Whether one is as good for less, or better for as much."""
    sign = 1 if one.score.after.is_higher_better else -1
    better = sign * (one.score.after.value - other.score.after.value)
    if math.isclose(one.score.after.value, other.score.after.value, rel_tol=ROUNDING):
        better = 0.0
    cheaper = getattr(other, cost) - getattr(one, cost)
    return better >= 0 and cheaper >= 0 and (better > 0 or cheaper > 0)
