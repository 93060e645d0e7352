"""The page of several runs: two charts with the best runs marked, and a table."""

from __future__ import annotations

import math
from collections.abc import Sequence

from secateur.reporting.charts.axes import Axis
from secateur.reporting.charts.scatter import Across, Dot, scatter_chart
from secateur.reporting.course import Picture
from secateur.reporting.measurement import UNITS, Measurement
from secateur.reporting.numbers import brief_bytes, percent, short
from secateur.reporting.runs import COSTS, Run
from secateur.reporting.templating import filled

ACROSS = {
    "file_bytes": Across("bytes of the file", brief_bytes, log=True),
    "density": Across("weights left", percent, log=True),
}
"""Cost of a run -> how its axis is written; logarithmic as long as nothing is zero."""


def render(title: str, runs: Sequence[Run]) -> str:
    """The page as text; every run is judged by the same measure."""
    score = runs[0].score.after
    turned = score.unit == "fraction" and score.is_higher_better
    measure = f"100 % \N{MINUS SIGN} {score.name}" if turned else score.name
    axis = Axis(measure, percent if score.unit == "fraction" else short)
    return filled(
        "comparison.html",
        title=title,
        runs=runs,
        score=score,
        better="lower" if turned or not score.is_higher_better else "higher",
        pictures=[_picture(runs, cost, axis, turned) for cost in COSTS],
        hows=_alike([_how(run) for run in runs]),
        how=_how,
        environments=_alike([", ".join(f"{k} {v}" for k, v in run.environment.items()) for run in runs]),
        percent=UNITS["fraction"],
        count=UNITS["bytes"],
    )


def _picture(runs: Sequence[Run], cost: str, axis: Axis, turned: bool) -> Picture:
    across = ACROSS[cost]
    shown = [run for run in runs if math.isfinite(run.score.after.value)]
    dots = [Dot(run.label, getattr(run, cost), _height(run.score.after, turned), cost in run.best_in) for run in shown]
    if any(dot.x <= 0 for dot in dots):
        across = Across(across.title, across.write)
    heading = f"{axis.title} against {across.title}"
    chart = scatter_chart(heading, dots, across, axis, name_all=True, level=_dense(runs, turned))
    return Picture(heading, "", chart)


def _dense(runs: Sequence[Run], turned: bool) -> tuple[str, float] | None:
    """The dense model's height, where all runs began with the same one."""
    heights = {_height(run.score.before, turned) for run in runs}
    height = heights.pop()
    return None if heights or not math.isfinite(height) else ("dense", height)


def _how(run: Run) -> str:
    before, after = run.score.before.how, run.score.after.how
    return after if before == after else f"dense: {before}; compressed: {after}"


def _height(score: Measurement, turned: bool) -> float:
    return 1 - score.value if turned else score.value


def _alike(facts: Sequence[str]) -> list[str]:
    """The different ones, in order of appearance."""
    return list(dict.fromkeys(facts))
