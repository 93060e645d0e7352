"""What the charts share: where they draw, how a vertical axis is written, its grid, and the axis at the bottom."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from secateur.reporting.charts.svg import Scale, element, group
from secateur.reporting.numbers import short

COLOURS = 8
WIDTH = 760.0
"""Of a chart as wide as the page."""
LABEL_STEP = 15.0
LETTER = 6.6
"""About the width of a letter, for labels that keep clear of one another."""


@dataclass(frozen=True)
class Frame:
    """A picture's size and the edges of the plot in it; right of the plot is room for the labels of the series, which
    may leave some to the plot."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float


WIDE = Frame(WIDTH, 270.0, 70.0, 520.0, 26.0, 226.0)
SMALL = Frame(440.0, 230.0, 72.0, 290.0, 26.0, 186.0)
"""For charts that stand side by side, and alone on a telephone."""


@dataclass(frozen=True)
class Axis:
    """What a vertical axis says: its title, how a value is written, whether it is logarithmic, and the most there can
    be: no fraction is drawn towards more than 100 %."""

    title: str
    write: Callable[[float], str]
    log: bool = False
    most: float = math.inf


def left_axis(up: Scale, axis: Axis, frame: Frame = WIDE) -> list[Markup]:
    """Grid lines, their values and the title."""
    ticks = [
        group(
            element("line", x1=frame.left, x2=frame.right, y1=up(value), y2=up(value), class_="grid"),
            element("text", axis.write(value), x=frame.left - 6, y=up(value) + 4, class_="end"),
        )
        for value in up.ticks()
    ]
    middle = (up.start + up.end) / 2
    title = element("text", axis.title, transform=f"translate(13 {middle:.1f}) rotate(-90)", class_="middle soft")
    return [*ticks, title]


def bottom_axis(
    across: Scale,
    values: Sequence[float],
    title: str,
    frame: Frame = WIDE,
    write: Callable[[float], str] = short,
) -> list[Markup]:
    """Values below the plot, and the title below them."""
    bottom = frame.bottom
    ticks = [element("text", write(value), x=across(value), y=bottom + 16, class_="middle") for value in values]
    middle = (frame.left + frame.right) / 2
    return [*ticks, element("text", title, x=middle, y=bottom + 34, class_="middle soft")]
