"""Lines over the epochs of a training run, its phases as bands behind them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from secateur.reporting.charts.axes import COLOURS, LABEL_STEP, LEFT, RIGHT, WIDTH, Axis, bottom_axis, left_axis
from secateur.reporting.charts.svg import Scale, drawing, element, group, path

HEIGHT, TOP, BOTTOM = 270.0, 26.0, 226.0


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


def line_chart(title: str, lines: Sequence[Line], axis: Axis, bands: Sequence[Band]) -> Markup:
    """Lines over epochs with the phases behind them, each with its label and last value. Empty where no line has a
    finite value."""
    values = [value for line in lines for value in line.y if _shown(value, axis)]
    if not values:
        return Markup("")
    count = max(len(line.y) for line in lines)
    across = Scale(0.5, count + 0.5, LEFT, RIGHT)
    up = Scale(*_range(values, axis.log), BOTTOM, TOP, axis.log)
    step = max(1, math.ceil(count / 14))
    shapes = [
        *(_band(band, across, shaded=index % 2 == 1) for index, band in enumerate(bands)),
        *left_axis(up, axis),
        *bottom_axis(across, BOTTOM, [1.0, *map(float, range(step if step > 1 else 2, count + 1, step))], "epoch"),
        *(_curve(line, axis, across, up) for line in lines),
        *_end_labels(lines, axis, up),
    ]
    words = "; ".join(f"{line.label}: {_course(line.y, axis.write)}" for line in lines)
    return drawing(WIDTH, HEIGHT, *shapes, title=title, description=words)


def _shown(value: float, axis: Axis) -> bool:
    return math.isfinite(value) and (value > 0 or not axis.log)


def _range(values: Sequence[float], log: bool) -> tuple[float, float]:
    low, high = min(values), max(values)
    if log:
        return low / 1.25, high * 1.25
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def _band(band: Band, across: Scale, *, shaded: bool) -> Markup:
    start, end = across(band.first - 0.5), across(band.last + 0.5)
    box = element("rect", x=start, y=TOP, width=end - start, height=BOTTOM - TOP, class_="band" if shaded else "plain")
    return group(box, element("text", band.label, x=(start + end) / 2, y=TOP - 8, class_="middle"))


def _curve(line: Line, axis: Axis, across: Scale, up: Scale) -> Markup:
    points = [(across(epoch), up(y) if _shown(y, axis) else math.nan) for epoch, y in enumerate(line.y, start=1)]
    style = line.style % COLOURS
    dots = [element("circle", cx=x, cy=y, r=2.2, class_=f"fill s{style}") for x, y in points if math.isfinite(y)]
    return group(element("path", d=path(points), class_=f"line s{style} d{style}"), *dots)


def _end_labels(lines: Sequence[Line], axis: Axis, up: Scale) -> list[Markup]:
    """The label and last value of each line, beside its end, moved apart where they would overlap."""
    ends = [(line, [value for value in line.y if _shown(value, axis)]) for line in lines]
    wanted = sorted(((up(y[-1]), line, axis.write(y[-1])) for line, y in ends if y), key=lambda end: end[0])
    labels = []
    for y, (_, line, value) in zip(_spread([y for y, _, _ in wanted]), wanted, strict=True):
        style = line.style % COLOURS
        sample = element("path", d=path([(RIGHT + 6, y), (RIGHT + 24, y)]), class_=f"line s{style} d{style}")
        text = f"{line.label} {value}" if len(lines) > 1 else value
        labels.append(group(sample, element("text", text, x=RIGHT + 29, y=y + 4)))
    return labels


def _spread(wanted: Sequence[float]) -> list[float]:
    """Ascending positions at least LABEL_STEP apart, near the wanted ones and, if they fit, not below the plot."""
    placed: list[float] = []
    for y in wanted:
        placed.append(max(y, placed[-1] + LABEL_STEP) if placed else y)
    limit = BOTTOM + 6
    for index in range(len(placed) - 1, -1, -1):
        placed[index] = min(placed[index], limit)
        limit = placed[index] - LABEL_STEP
    return placed


def _course(values: Sequence[float], write: Callable[[float], str]) -> str:
    finite = [value for value in values if math.isfinite(value)]
    return f"from {write(finite[0])} to {write(finite[-1])}" if finite else "nothing"
