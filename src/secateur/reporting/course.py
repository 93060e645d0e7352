"""What changed over training, as charts and as a table: score, loss and its terms, density, costs, multipliers,
thresholds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup

from secateur.reporting.charts.axes import COLOURS, SMALL, Axis
from secateur.reporting.charts.lines import Band, Line, line_chart
from secateur.reporting.facts import Epoch, Training
from secateur.reporting.measurement import UNITS
from secateur.reporting.names import told_apart
from secateur.reporting.numbers import brief, brief_bytes, percent, short

Writer = Callable[[float], str]
WISHES: dict[str, tuple[str, Writer, Writer]] = {
    "density": ("density", percent, UNITS["fraction"]),
    "macs": ("multiply-accumulates", brief, UNITS["macs"]),
    "packed_bytes": ("bytes of the file", brief_bytes, UNITS["bytes"]),
    "average_bits": ("bits of a kept weight", short, short),
    "bit_operations": ("bit operations", brief, UNITS["macs"]),
    "largest_map_bytes": ("bytes of the largest feature map", brief_bytes, UNITS["bytes"]),
}
"""Wish of a target -> what a person calls it, and how its cost is written on an axis and in a table."""


@dataclass(frozen=True)
class Picture:
    """A chart with its heading and a sentence on how to read it."""

    heading: str
    note: str
    chart: Markup


@dataclass(frozen=True)
class Course:
    """Charts that stand side by side, charts as wide as the page, and every epoch as a row of text under `header`."""

    small: tuple[Picture, ...]
    wide: tuple[Picture, ...]
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def course(training: Training) -> Course:
    """All there is to show; a chart without a finite value is left out."""
    bands = bands_of(training)
    small = [*_single(training, bands), *_wishes(training, bands)]
    wide = _by_tensor(training, bands)
    header, rows = _table(training)
    return Course(tuple(p for p in small if p.chart), tuple(p for p in wide if p.chart), header, rows)


def bands_of(training: Training) -> list[Band]:
    """The phases, each with its first and last epoch."""
    bands, first = [], 1
    for phase, epochs in groupby(training.epochs, key=lambda epoch: epoch.phase):
        last = first + sum(1 for _ in epochs) - 1
        bands.append(Band(phase, first, last))
        first = last + 1
    return bands


def writer(training: Training) -> Writer:
    """How the score is written."""
    return percent if training.unit == "fraction" else short


def tensor_charts(training: Training, name: str) -> list[Picture]:
    """Density, threshold, width and the probabilities of its widths, of one tensor over the epochs."""
    epochs, bands = training.epochs, bands_of(training)
    densities = [Line("density", [epoch.densities.get(name, math.nan) for epoch in epochs], 3)]
    thresholds = [Line("threshold", [epoch.thresholds.get(name, math.nan) for epoch in epochs], 2)]
    bits = [Line("bits", [epoch.bits.get(name, math.nan) for epoch in epochs], 1)]
    drawn = [
        ("Density", densities, Axis("weights left", percent, log=True, most=1.0)),
        ("Threshold", thresholds, Axis("units of the weight", short)),
        ("Bits", bits, Axis("expected width", short)),
        ("Probability of widths", _shares(epochs, name), Axis("of so many bits", percent, most=1.0)),
    ]
    pictures = [
        Picture(what, "", line_chart(f"{what} of {name}", lines, axis, bands, SMALL, bare=True))
        for what, lines, axis in drawn
    ]
    return [picture for picture in pictures if picture.chart]


def _shares(epochs: Sequence[Epoch], name: str) -> list[Line]:
    """The probability of every width of one tensor, the likeliest at the end first where there are many."""
    taken = [epoch.shares.get(name, {}) for epoch in epochs]
    last = next((shares for shares in reversed(taken) if shares), {})
    shown = sorted(sorted(last, key=lambda width: -last[width])[:COLOURS], key=int)
    return [Line(f"{width} bits", [s.get(width, math.nan) for s in taken], i) for i, width in enumerate(shown)]


def _small(heading: str, note: str, lines: Sequence[Line], axis: Axis, bands: Sequence[Band]) -> Picture:
    return Picture(heading, note, line_chart(heading, lines, axis, bands, SMALL))


def _single(training: Training, bands: Sequence[Band]) -> Iterable[Picture]:
    """What every epoch has one of."""
    epochs = training.epochs
    axis = Axis("score", writer(training), most=1.0 if training.unit == "fraction" else math.inf)
    yield _small(capital(training.score), "", [Line("score", [e.score for e in epochs])], axis, bands)
    losses = [Line("loss", [epoch.loss for epoch in epochs])]
    axis = Axis("mean over the epoch", short, log=True)
    yield _small("Loss of the task", "Mean over the training batches of the epoch.", losses, axis, bands)
    names = _names(epoch.terms for epoch in epochs)
    terms = [Line(n, [e.terms.get(n, math.nan) for e in epochs], i) for i, n in enumerate(names)]
    if len(names) > 1:
        note = "What the optimizer minimised, summand by summand: means over the epoch."
        yield _small("Terms of the loss", note, terms, Axis("mean over the epoch", short), bands)
    density = [Line("density", [epoch.density for epoch in epochs])]
    axis = Axis("weights left", percent, log=True, most=1.0)
    yield _small(
        "Density",
        "Of all pruned tensors together; by the gates as they were, until masks are fixed.",
        density,
        axis,
        bands,
    )


def _wishes(training: Training, bands: Sequence[Band]) -> Iterable[Picture]:
    """What the budget watched: each cost beside its moving reference, and the multipliers."""
    epochs = training.epochs
    for name in _names(epoch.costs for epoch in epochs):
        words, write, _ = _wish(name)
        pairs = [epoch.costs.get(name, (math.nan, math.nan)) for epoch in epochs]
        lines = [Line("cost", [cost for cost, _ in pairs]), Line("asked for", [asked for _, asked in pairs], 2)]
        note = "By the gates as they were, and what the budget asked for by then."
        yield _small(
            f"Cost: {words}",
            note,
            lines,
            Axis(words, write, log=True, most=1.0 if name == "density" else math.inf),
            bands,
        )
    names = _names(epoch.multipliers for epoch in epochs)
    lines = [Line(_wish(n)[0], [e.multipliers.get(n, math.nan) for e in epochs], i) for i, n in enumerate(names)]
    note = "How hard the budget pressed at the end of the epoch, one multiplier a wish."
    yield _small("Multipliers", note, lines, Axis("multiplier", short), bands)


def _by_tensor(training: Training, bands: Sequence[Band]) -> list[Picture]:
    epochs = training.epochs
    names, note = _shown_tensors(training)
    densities = [Line("together", [epoch.density for epoch in epochs])]
    labels = list(enumerate(zip(told_apart(names), names, strict=True), 1))
    densities += [Line(label, [e.densities.get(n, math.nan) for e in epochs], i) for i, (label, n) in labels]
    thresholds = [Line(label, [e.thresholds.get(n, math.nan) for e in epochs], i) for i, (label, n) in labels]
    left = Axis("weights left", percent, log=True, most=1.0)
    learned = Axis("threshold, units of the weight", short, log=True)
    drawn = [("Density by tensor", densities, left), ("Thresholds by tensor", thresholds, learned)] if names else []
    pictures = [Picture(heading, note, line_chart(heading, lines, axis, bands)) for heading, lines, axis in drawn]
    quantized = [*_widths(training, bands), *_rounding(training, bands)]
    return [*pictures, *quantized, *_norms(training, bands), *_balance(training, bands)]


def _widths(training: Training, bands: Sequence[Band]) -> list[Picture]:
    """Expected bits of every quantized tensor and feature map, those first that change most."""
    note = "Expected while the widths are learned, fixed from hardening on."
    bits = [epoch.bits for epoch in training.epochs]
    drawn = _largest(bits, lambda taken: max(taken) - min(taken), (note, "changed most"))
    return _picture("Bits by tensor and feature map", drawn, Axis("bits", short), bands)


def _rounding(training: Training, bands: Sequence[Band]) -> list[Picture]:
    """What rounding is expected to cost, tensor by tensor and map by map, those first that cost most."""
    note = "How much loss rounding to their widths is expected to add while these are learned, to second order."
    costs = [epoch.rounding for epoch in training.epochs]
    drawn = _largest(costs, lambda taken: max(filter(math.isfinite, taken), default=0.0), (note, "cost most"))
    heading = "Loss by rounding, by tensor and feature map"
    return _picture(heading, drawn, Axis("added to the loss", short, log=True), bands)


def _norms(training: Training, bands: Sequence[Band]) -> Iterable[Picture]:
    """How far layers are from the statistics they are trained to, where nothing corrects them, and what presses."""
    evaluated = "On validation data, where nothing normalizes; the channel that is furthest."
    drawn = (
        ("Distance from mean 0, by layer", "|mean|, in standard deviations", evaluated),
        ("Distance from the wanted variance, by layer", "|variance / wanted - 1|", evaluated),
        ("Multipliers of normalization, by layer", "largest multiplier", "How hard the constraints press."),
    )
    for place, (heading, axis, note) in enumerate(drawn):
        taken = [{name: numbers[place] for name, numbers in epoch.norms.items()} for epoch in training.epochs]
        lines = _largest(taken, lambda found: max(filter(math.isfinite, found), default=0.0), (note, "were furthest"))
        yield from _picture(heading, lines, Axis(axis, short), bands)


def _balance(training: Training, bands: Sequence[Band]) -> list[Picture]:
    """How equally the groups of every tensor in a pattern keep their weights, those first that are least equal."""
    note = "Mean over largest number of weights that a group keeps: at 1 no lane waits for another."
    balances = [epoch.balance for epoch in training.epochs]
    drawn = _largest(
        balances, lambda taken: -min(filter(math.isfinite, taken), default=1.0), (note, "were least equal")
    )
    return _picture("Balance of groups by tensor", drawn, Axis("mean / largest", percent, most=1.0), bands)


def _largest(
    epochs: Sequence[Mapping[str, float]], size: Callable[[list[float]], float], words: tuple[str, str]
) -> tuple[list[Line], str]:
    """The lines a chart can hold of what every epoch has by name, the largest first; and its note, words[0], with what
    these are the most of, words[1], where they are not all."""
    note, most = words
    taken = {name: [epoch.get(name, math.nan) for epoch in epochs] for name in _names(epochs)}
    shown = sorted(taken, key=lambda name: -size(taken[name]))[:COLOURS]
    if len(taken) > len(shown):
        note += f" The {len(shown)} of {len(taken)} that {most}."
    labels = enumerate(zip(told_apart(shown), shown, strict=True))
    return [Line(label, taken[name], index) for index, (label, name) in labels], note


def _picture(heading: str, drawn: tuple[list[Line], str], axis: Axis, bands: Sequence[Band]) -> list[Picture]:
    lines, note = drawn
    return [Picture(heading, note, line_chart(heading, lines, axis, bands))] if lines else []


def _shown_tensors(training: Training) -> tuple[list[str], str]:
    """The tensors a chart of lines can hold, those that lost most first, and a sentence where it cannot hold all."""
    last: dict[str, float] = {}
    for epoch in training.epochs:
        last |= epoch.densities
    most = COLOURS - 1
    names = sorted(last, key=last.__getitem__)[:most]
    shown = [name for name in last if name in names]
    return shown, f"The {most} sparsest of {len(last)} tensors." if len(last) > most else ""


def _table(training: Training) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Every epoch in numbers: for eyes that read no charts."""
    epochs, score = training.epochs, writer(training)
    terms, wishes = _names(e.terms for e in epochs), _names(e.costs for e in epochs)
    pressed = _names(e.multipliers for e in epochs)
    header = ["epoch", "phase", "score", "loss", *terms, "density"]
    for name in wishes:
        header += [f"cost: {_wish(name)[0]}", "asked for"]
    header += [f"multiplier: {_wish(name)[0]}" for name in pressed]
    rows = [_row(n, e, score, (terms, wishes, pressed)) for n, e in enumerate(epochs, 1)]
    return tuple(header), tuple(rows)


def _row(number: int, epoch: Epoch, score: Writer, names: tuple[list[str], list[str], list[str]]) -> tuple[str, ...]:
    terms, wishes, pressed = names
    cells = [f"{number}", epoch.phase, cell(epoch.score, score), cell(epoch.loss, short)]
    cells += [cell(epoch.terms.get(name, math.nan), short) for name in terms]
    cells.append(cell(epoch.density, percent))
    for name in wishes:
        cells += [cell(value, _wish(name)[2]) for value in epoch.costs.get(name, (math.nan, math.nan))]
    return (*cells, *(cell(epoch.multipliers.get(name, math.nan), short) for name in pressed))


def cell(value: float, write: Writer) -> str:
    """A number as text, a dash where there is none."""
    return write(value) if math.isfinite(value) else "-"


def capital(words: str) -> str:
    """The words with a capital letter at their beginning."""
    return words[:1].upper() + words[1:]


def _wish(name: str) -> tuple[str, Writer, Writer]:
    return WISHES.get(name, (name, short, short))


def _names(mappings: Iterable[Iterable[str]]) -> list[str]:
    """Every key, in the order of first appearance."""
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))
