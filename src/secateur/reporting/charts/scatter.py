"""Dots over two axes: what one costs against what the other loses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from secateur.reporting.charts.axes import LETTER, Axis, Frame, bottom_axis, left_axis
from secateur.reporting.charts.svg import Scale, drawing, element, path
from secateur.reporting.names import cut
from secateur.reporting.numbers import short

LONGEST = 40
"""Characters of a label that fit; hovering shows all of it."""
SCATTER = Frame(760.0, 300.0, 70.0, 690.0, 16.0, 250.0)


@dataclass(frozen=True)
class Dot:
    """One thing at (x, y), its label beside it; best: nothing else is better in both."""

    label: str
    x: float
    y: float
    best: bool = False


@dataclass(frozen=True)
class Across:
    """What the horizontal axis says: its title, how a value is written, and whether it is logarithmic."""

    title: str
    write: Callable[[float], str] = short
    log: bool = False


def scatter_chart(
    title: str,
    dots: Sequence[Dot],
    across_axis: Across,
    axis: Axis,
    *,
    name_all: bool = False,
    level: tuple[str, float] | None = None,
) -> Markup:
    """Dots with a line through the best ones, which are diamonds with their label; name_all: the others are labelled
    too. level: a name and a height to compare with. Pointing at a dot shows its whole label. Empty without dots."""
    if not dots:
        return Markup("")
    across = _scale([dot.x for dot in dots], SCATTER.left, SCATTER.right, across_axis.log)
    up = _scale([*(dot.y for dot in dots), *([level[1]] if level else [])], SCATTER.bottom, SCATTER.top, axis.log)
    best = sorted((dot for dot in dots if dot.best), key=lambda dot: (dot.x, dot.y))
    line = path([(across(dot.x), up(dot.y)) for dot in best])
    named = [dot for dot in dots if dot.best or name_all]
    shapes = [
        *left_axis(up, axis, SCATTER),
        *bottom_axis(across, across.ticks(8), across_axis.title, SCATTER, across_axis.write),
        *(_level(*level, up, axis) if level else ()),
        element("path", d=line, class_="line s1 d1"),
        *(_mark(dot, across(dot.x), up(dot.y), axis, across_axis) for dot in dots),
        *_labels([(cut(dot.label, LONGEST), across(dot.x), up(dot.y)) for dot in named]),
    ]
    words = "; ".join(f"{dot.label}: {across_axis.write(dot.x)}, {axis.write(dot.y)}" for dot in best)
    return drawing(SCATTER.width, SCATTER.height, *shapes, title=title, description=f"Best: {words}")


def _level(name: str, height: float, up: Scale, axis: Axis) -> list[Markup]:
    y, words = up(height), f"{name} {axis.write(height)}"
    line = element("line", x1=SCATTER.left, x2=SCATTER.right, y1=y, y2=y, class_="mark")
    return [line, element("text", words, x=SCATTER.left + 4, y=y - 5)]


def _scale(values: Sequence[float], start: float, end: float, log: bool) -> Scale:
    low, high = min(values), max(values)
    if log:
        factor = max(1.2, (high / low) ** 0.08)
        return Scale(low / factor, high * factor, start, end, log)
    margin = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    return Scale(low - margin, high + margin, start, end)


def _mark(dot: Dot, x: float, y: float, axis: Axis, across: Across) -> Markup:
    says = element("title", f"{dot.label}: {across.write(dot.x)}, {axis.write(dot.y)}")
    if dot.best:
        corners = [(x - 6, y), (x, y - 6), (x + 6, y), (x, y + 6)]
        return element("path", says, d=path(corners) + "Z", class_="fill s1 best")
    return element("circle", says, cx=x, cy=y, r=3.2, class_="fill s0")


def _labels(wanted: Sequence[tuple[str, float, float]]) -> list[Markup]:
    """Each label at the first place beside its dot that no dot or earlier label holds."""
    taken = [(x - 6, y - 6, x + 6, y + 6) for _, x, y in wanted]
    labels = []
    for label, x, y in wanted:
        width = LETTER * len(label)
        places = [(x + 10, y + dy) for dy in (-6.0, 4.0, 16.0)] + [(x - 10 - width, y + dy) for dy in (-6.0, 4.0, 16.0)]
        boxes = [(left, base - 10, left + width, base + 3) for left, base in places]
        inside = [box for box in boxes if SCATTER.left <= box[0] and box[2] <= SCATTER.width]
        box = next((box for box in inside if not any(_overlap(box, other) for other in taken)), (inside or boxes)[0])
        taken.append(box)
        labels.append(element("text", label, x=box[0], y=box[3] - 3))
    return labels


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
