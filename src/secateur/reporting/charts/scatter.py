"""Dots over two axes: what one costs against what the other loses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from secateur.reporting.charts.axes import COLOURS, LEFT, RIGHT, WIDTH, Axis, bottom_axis, left_axis
from secateur.reporting.charts.svg import Scale, drawing, element, group, path

LONGEST = 40
"""Characters of a label that fit; hovering shows all of it."""
HEIGHT, TOP, BOTTOM = 300.0, 16.0, 250.0


@dataclass(frozen=True)
class Dot:
    """One thing at (x, y), its label beside it; best: nothing else is better in both."""

    label: str
    x: float
    y: float
    best: bool = False


def scatter_chart(title: str, dots: Sequence[Dot], across_title: str, axis: Axis) -> Markup:
    """Dots with a line through the best ones, which are labelled; hovering shows every label. Empty without dots."""
    if not dots:
        return Markup("")
    xs, ys = [dot.x for dot in dots], [dot.y for dot in dots]
    margin = 0.06 * (max(xs) - min(xs)) or 1.0
    across = Scale(min(xs) - margin, max(xs) + margin, LEFT, RIGHT)
    factor = 1.5 if axis.log else 1.0
    up = Scale(min(ys) / factor, max(ys) * factor, BOTTOM, TOP, axis.log)
    best = sorted((dot for dot in dots if dot.best), key=lambda dot: dot.x)
    line = path([(across(dot.x), up(dot.y)) for dot in best])
    shapes = [
        *left_axis(up, axis),
        *bottom_axis(across, BOTTOM, across.ticks(8), across_title),
        element("path", d=line, class_="line thin s1 d1"),
        *(_dot(dot, across(dot.x), up(dot.y)) for dot in dots),
    ]
    words = "; ".join(f"{dot.label}: {dot.x:g}, {axis.write(dot.y)}" for dot in best)
    return drawing(WIDTH, HEIGHT, *shapes, title=title, description=words)


def _dot(dot: Dot, x: float, y: float) -> Markup:
    style = 1 % COLOURS if dot.best else 0
    mark = element(
        "circle", element("title", dot.label), cx=x, cy=y, r=4.5 if dot.best else 2.5, class_=f"fill s{style}"
    )
    return group(mark, element("text", _cut(dot.label), x=x + 8, y=y - 6)) if dot.best else group(mark)


def _cut(label: str) -> str:
    return label if len(label) <= LONGEST else f"{label[: LONGEST - 3]}..."
