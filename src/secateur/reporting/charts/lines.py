"""Lines over the epochs of a training run, its phases as bands behind them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from secateur.reporting.charts.axes import COLOURS, LABEL_STEP, LETTER, WIDE, Axis, Frame, bottom_axis, left_axis
from secateur.reporting.charts.svg import Scale, drawing, element, group, path
from secateur.reporting.names import cut

MOST_DOTS = 30
"""Epochs up to which every value has a dot that says it when pointed at."""
SAMPLE = 29.0
"""From the plot's edge to a label: the sample of its line is between."""
MOST_POINTS, MOST_BARE = 240, 60
"""Points of one line; of longer runs every second, third, ... epoch is drawn, and the last."""


@dataclass(frozen=True)
class Line:
    """One series over epochs 1, 2, ...; NaN where there is nothing to show. style: which of the COLOURS and dashes."""

    label: str
    y: Sequence[float]
    style: int = 0


@dataclass(frozen=True)
class Band:
    """A phase of training, from epoch `first` to epoch `last`, both included."""

    label: str
    first: int
    last: int


def line_chart(
    title: str, lines: Sequence[Line], axis: Axis, bands: Sequence[Band], frame: Frame = WIDE, *, bare: bool = False
) -> Markup:
    """Lines over epochs with the phases behind them, each with its label and last value. Empty where no line has a
    finite value. bare: without dots and with fewer points, for pages of many."""
    values = [value for line in lines for value in line.y if _shown(value, axis)]
    if not values:
        return Markup("")
    count = max(len(line.y) for line in lines)
    frame = _with_room(lines, axis, frame)
    across = Scale(0.5, count + 0.5, frame.left, frame.right)
    up = Scale(*_range(values, axis), frame.bottom, frame.top, axis.log)
    step = max(1, math.ceil(count * 36 / (frame.right - frame.left)))
    shapes = [
        *(_band(band, across, frame, shaded=index % 2 == 1) for index, band in enumerate(bands)),
        *left_axis(up, axis, frame),
        *bottom_axis(across, [1.0, *map(float, range(step if step > 1 else 2, count + 1, step))], "epoch", frame),
        *(_curve(line, axis, across, up, bare=bare) for line in lines),
        *_end_labels(lines, axis, up, frame),
    ]
    words = "; ".join(f"{line.label}: {_course(line.y, axis.write)}" for line in lines)
    return drawing(frame.width, frame.height, *shapes, title=title, description=words)


def _shown(value: float, axis: Axis) -> bool:
    return math.isfinite(value) and (value > 0 or not axis.log)


def _range(values: Sequence[float], axis: Axis) -> tuple[float, float]:
    low, high = min(values), max(values)
    if axis.log:
        low, top = low / 1.25, high * 1.25
    else:
        margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
        low, top = low - margin, high + margin
    return low, max(high, min(top, axis.most))


def _band(band: Band, across: Scale, frame: Frame, *, shaded: bool) -> Markup:
    start, end = across(band.first - 0.5), across(band.last + 0.5)
    height = frame.bottom - frame.top
    box = element("rect", x=start, y=frame.top, width=end - start, height=height, class_="band" if shaded else "plain")
    # A phase too short for its name says it when pointed at.
    if len(band.label) * LETTER > end - start:
        return group(element("title", band.label), box)
    return group(box, element("text", band.label, x=(start + end) / 2, y=frame.top - 8, class_="middle soft"))


def _curve(line: Line, axis: Axis, across: Scale, up: Scale, *, bare: bool) -> Markup:
    style, count = line.style % COLOURS, len(line.y)
    step = math.ceil(count / (MOST_BARE if bare else MOST_POINTS))
    shown = [n for n in range(1, count + 1) if n == count or (n - 1) % step == 0] if count else []
    values = [line.y[n - 1] for n in shown]
    points = [(across(n), up(y) if _shown(y, axis) else math.nan) for n, y in zip(shown, values, strict=True)]
    dots = [
        element("circle", element("title", f"{line.label}, epoch {n}: {axis.write(y)}"), cx=at[0], cy=at[1], r=2.0)
        for n, y, at in zip(shown, values, points, strict=True)
        if count <= MOST_DOTS and not bare and math.isfinite(at[1])
    ]
    curve = element("path", d=path(points), class_=f"line s{style} d{style}")
    return group(curve, group(*dots, class_=f"fill s{style}")) if dots else curve


def _with_room(lines: Sequence[Line], axis: Axis, frame: Frame) -> Frame:
    """The plot as wide as the labels beside it allow, and at least to the frame's own edge."""
    longest = max(len(f"{label} {value}".strip()) for _, _, label, value in _ends(lines, axis))
    return dataclasses.replace(frame, right=max(frame.right, frame.width - SAMPLE - 4 - LETTER * longest))


def _ends(lines: Sequence[Line], axis: Axis) -> list[tuple[Line, float, str, str]]:
    """Each line with its last value, its label and that value in words; a single line needs no label."""
    found = []
    for line in lines:
        if shown := [value for value in line.y if _shown(value, axis)]:
            label = line.label if len(lines) > 1 else ""
            found.append((line, shown[-1], label, axis.write(shown[-1])))
    return found


def _end_labels(lines: Sequence[Line], axis: Axis, up: Scale, frame: Frame) -> list[Markup]:
    """The label and last value of each line, beside its end, moved apart where they would overlap."""
    wanted = sorted(_ends(lines, axis), key=lambda end: up(end[1]))
    room = int((frame.width - frame.right - SAMPLE) / LETTER)
    labels = []
    for y, (line, _, label, value) in zip(_spread([up(end[1]) for end in wanted], frame.bottom), wanted, strict=True):
        style = line.style % COLOURS
        ends_of_sample = [(frame.right + 6, y), (frame.right + 24, y)]
        sample = element("path", d=path(ends_of_sample), class_=f"line s{style} d{style}")
        text = f"{cut(label, room - len(value) - 1)} {value}" if label else value
        labels.append(group(sample, element("text", text, x=frame.right + SAMPLE, y=y + 4)))
    return labels


def _spread(wanted: Sequence[float], bottom: float) -> list[float]:
    """Ascending positions at least LABEL_STEP apart, near the wanted ones and, if they fit, not below the plot."""
    placed: list[float] = []
    for y in wanted:
        placed.append(max(y, placed[-1] + LABEL_STEP) if placed else y)
    limit = bottom + 6
    for index in range(len(placed) - 1, -1, -1):
        placed[index] = min(placed[index], limit)
        limit = placed[index] - LABEL_STEP
    return placed


def _course(values: Sequence[float], write: Callable[[float], str]) -> str:
    finite = [value for value in values if math.isfinite(value)]
    return f"from {write(finite[0])} to {write(finite[-1])}" if finite else "nothing"
