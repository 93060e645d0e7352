"""The page of a report: charts drawn from the facts, put into the template with everything escaped."""

from __future__ import annotations

import math
from itertools import groupby

from markupsafe import Markup

from secateur.ir.describe import TensorRow
from secateur.reporting.charts.axes import COLOURS, Axis
from secateur.reporting.charts.histogram import histogram_chart
from secateur.reporting.charts.lines import Band, Line, line_chart
from secateur.reporting.charts.sizes import bytes_chart
from secateur.reporting.facts import Facts, Training
from secateur.reporting.measurement import UNITS
from secateur.reporting.templating import filled
from secateur.reporting.weight_histogram import WeightHistogram

STREAMS = ("positions", "values", "framing")
MOST_ROWS = 40
"""Tensors a chart of bars or a list of histograms shows; a page of thousands would no longer be read."""


def render(facts: Facts) -> str:
    """The page as text."""
    histograms = [row.histogram for row in facts.layers if row.histogram]
    return filled(
        "report.html",
        title=facts.title,
        facts=facts,
        percent=UNITS["fraction"],
        count=UNITS["weights"],
        course=_course(facts.training) if facts.training else [],
        histograms=[(row, _histogram(row)) for row in histograms[:MOST_ROWS]],
        histograms_taken=len(histograms),
        bytes_chart=_bytes(facts),
        most_rows=MOST_ROWS,
    )


def _course(training: Training) -> list[tuple[str, str, Markup]]:
    """(heading, note, chart) for what changed over the epochs; a chart without a finite value is left out."""
    epochs, bands = training.epochs, _bands(training)
    names, note = _shown_tensors(training)
    write = _percent if training.unit == "fraction" else _short
    densities = [Line("together", [e.density for e in epochs])]
    densities += [Line(n, [e.densities.get(n, math.nan) for e in epochs], i) for i, n in enumerate(names, 1)]
    thresholds = [Line(n, [e.thresholds.get(n, math.nan) for e in epochs], i) for i, n in enumerate(names, 1)]
    charts = [
        (_capital(training.score), "", [Line("score", [e.score for e in epochs])], Axis("score", write)),
        ("Loss", "", [Line("loss", [e.loss for e in epochs])], Axis("mean loss", _short, log=True)),
        ("Density by tensor", note, densities, Axis("weights left", _percent, log=True)),
        ("Learned thresholds", note, thresholds, Axis("threshold, units of the weight", _short, log=True)),
    ]
    drawn = [(heading, note, line_chart(heading, lines, axis, bands)) for heading, note, lines, axis in charts]
    return [chart for chart in drawn if chart[2]]


def _shown_tensors(training: Training) -> tuple[list[str], str]:
    """The tensors a chart of lines can hold, those that lost most first, and a sentence where it cannot hold all."""
    last: dict[str, float] = {}
    for epoch in training.epochs:
        last |= epoch.densities
    most = COLOURS - 1
    names = sorted(last, key=last.__getitem__)[:most]
    shown = [name for name in last if name in names]
    return shown, f"The {most} sparsest of {len(last)} tensors." if len(last) > most else ""


def _bands(training: Training) -> list[Band]:
    bands, first = [], 1
    for phase, epochs in groupby(training.epochs, key=lambda epoch: epoch.phase):
        last = first + sum(1 for _ in epochs) - 1
        bands.append(Band(phase, first, last))
        first = last + 1
    return bands


def _histogram(row: WeightHistogram) -> Markup:
    return histogram_chart(f"Weights of {row.name}", row.edges, row.series, row.threshold)


def _bytes(facts: Facts) -> Markup:
    largest = sorted(facts.tensors, key=lambda row: -row.float32_bytes)[:MOST_ROWS]
    chosen = [(row.name, row.float32_bytes, _by_stream(row)) for row in facts.tensors if row in largest]
    return bytes_chart("Bytes by tensor", chosen, STREAMS)


def _by_stream(row: TensorRow) -> dict[str, int]:
    return {stream: getattr(row.file, stream) for stream in STREAMS}


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _short(value: float) -> str:
    return f"{value:.3g}"


def _percent(value: float) -> str:
    return f"{100 * value:.3g} %"
