"""The page of a report: charts drawn from the facts, put into the template with everything escaped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from secateur.ir.describe import TensorRow
from secateur.ir.mac_row import MacAwareLayer
from secateur.reporting.charts.histogram import counts_chart, histogram_chart
from secateur.reporting.charts.sizes import bytes_chart, file_chart
from secateur.reporting.course import Picture, cell, course, tensor_charts
from secateur.reporting.facts import Facts
from secateur.reporting.layers import FATES, LayerRow
from secateur.reporting.maps import MapRow
from secateur.reporting.measurement import UNITS
from secateur.reporting.names import told_apart
from secateur.reporting.numbers import brief, short
from secateur.reporting.rounds import Round
from secateur.reporting.templating import filled
from secateur.reporting.times import LayerTime

STREAMS = ("positions", "values", "scales", "framing")
MOST_ROWS = 1000
"""Rows of a table."""
MOST_DETAILED = 150
"""Tensors shown one by one; beyond, the table and the JSON twin have them."""
MOST_BARS = 40
"""Tensors in a chart of bars."""


@dataclass(frozen=True)
class Detail:
    """One tensor with its pictures, and where on the page it is."""

    anchor: str
    row: LayerRow
    pictures: tuple[Picture, ...]


def render(facts: Facts) -> str:
    """The page as text."""
    detailable = _detailable(facts)
    rows = enumerate(_largest(detailable, MOST_DETAILED), 1)
    details = [Detail(f"tensor{n}", row, tuple(_pictures(facts, row))) for n, row in rows]
    layers, tensors = _largest(facts.layers, MOST_ROWS), _largest_tensors(facts.tensors, MOST_ROWS)
    return filled(
        "report.html",
        title=facts.title,
        facts=facts,
        course=course(facts.training) if facts.training else None,
        layers=layers,
        fates=[(fate, Counter(row.fate for row in facts.layers)[fate]) for fate in FATES],
        anchors={detail.row.name: detail.anchor for detail in details},
        details=details,
        detailable=len(detailable),
        grouped=_largest([row for row in facts.layers if row.groups], MOST_ROWS),
        maps=_largest_maps(facts.maps, MOST_ROWS),
        timed=_timed(facts)[:MOST_ROWS],
        round_rows=_by_tensor(facts.rounds)[:MOST_ROWS],
        round_total=sum(len(one.tensors) for one in facts.rounds),
        speed=facts.speed,
        kernels=facts.speed.layers[:MOST_ROWS] if facts.speed else (),
        tensors=tensors,
        file_chart=_whole_file(facts),
        bytes_chart=_bytes(facts),
        bars=min(MOST_BARS, len(facts.tensors)),
        percent=lambda value: cell(value, UNITS["fraction"]),
        count=UNITS["weights"],
        number=lambda value: cell(value, short),
        short=short,
        brief=brief,
    )


def _detailable(facts: Facts) -> list[LayerRow]:
    """The tensors there is something to draw of."""
    epochs = facts.training.epochs if facts.training else ()
    traced = {name for epoch in epochs for name in (*epoch.densities, *epoch.thresholds, *epoch.bits)}
    return [row for row in facts.layers if row.histogram or row.groups or row.name in traced]


def _pictures(facts: Facts, row: LayerRow) -> list[Picture]:
    pictures = []
    if taken := row.histogram:
        chart = histogram_chart(f"Weights of {row.name}", taken.edges, taken.series, taken.threshold)
        pictures.append(Picture("Weights", "", chart))
    if groups := row.groups:
        series = {"before hardening": groups.before, "hardened": groups.after}
        chart = counts_chart(f"Weights that groups of {row.name} keep, {row.pattern}", series)
        pictures.append(Picture("Weights that groups keep", "", chart))
    return pictures + (tensor_charts(facts.training, row.name) if facts.training else [])


def _largest(rows: Sequence[LayerRow], most: int) -> list[LayerRow]:
    """The rows with the most weights, in their own order."""
    kept = sorted(range(len(rows)), key=lambda n: -rows[n].weights)[:most]
    return [rows[n] for n in sorted(kept)]


def _largest_tensors(rows: Sequence[TensorRow], most: int) -> list[TensorRow]:
    kept = sorted(range(len(rows)), key=lambda n: -rows[n].float32_bytes)[:most]
    return [rows[n] for n in sorted(kept)]


def _largest_maps(rows: Sequence[MapRow], most: int) -> list[MapRow]:
    kept = sorted(range(len(rows)), key=lambda n: -rows[n].values)[:most]
    return [rows[n] for n in sorted(kept)]


def _timed(facts: Facts) -> list[tuple[LayerRow, LayerTime]]:
    rows = {row.name: row for row in facts.layers}
    return [(rows[time.tensor], time) for time in facts.times if time.tensor in rows]


def _by_tensor(rounds: Sequence[Round]) -> list[tuple[int, MacAwareLayer]]:
    """Tensor by tensor its rows over the rounds, with the number of the round."""
    names = dict.fromkeys(row.name for one in rounds for row in one.tensors)
    numbered = [(number, row) for number, one in enumerate(rounds, 1) for row in one.tensors]
    return [pair for name in names for pair in numbered if pair[1].name == name]


def _whole_file(facts: Facts) -> Markup:
    parts = {stream: sum(getattr(row.file, stream) for row in facts.tensors) for stream in _streams(facts)}
    return file_chart("The whole file", {**parts, "header": facts.header_bytes})


def _bytes(facts: Facts) -> Markup:
    rows = _largest_tensors(facts.tensors, MOST_BARS)
    names = told_apart([row.name for row in rows])
    streams = _streams(facts)
    chosen = [
        (name, row.float32_bytes, {s: getattr(row.file, s) for s in streams})
        for name, row in zip(names, rows, strict=True)
    ]
    return bytes_chart("Bytes by tensor", chosen, streams)


def _streams(facts: Facts) -> tuple[str, ...]:
    """What the bytes of tensors are divided into: scales only where there are some."""
    return tuple(s for s in STREAMS if s != "scales" or any(row.file.scales for row in facts.tensors))
