"""What the charts share: how a vertical axis is written, its grid, and the axis at the bottom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from markupsafe import Markup

from secateur.reporting.charts.svg import Scale, element, group

COLOURS = 8
WIDTH = 760.0
LEFT, RIGHT = 70.0, 588.0
"""The plot's edges; what is right of it holds the labels of the series."""
LABEL_STEP = 15.0


@dataclass(frozen=True)
class Axis:
    """What a vertical axis says: its title, how a value is written, and whether it is logarithmic."""

    title: str
    write: Callable[[float], str]
    log: bool = False


def left_axis(up: Scale, axis: Axis) -> list[Markup]:
    """Grid lines, their values and the title."""
    ticks = [
        group(
            element("line", x1=LEFT, x2=RIGHT, y1=up(value), y2=up(value), class_="grid"),
            element("text", axis.write(value), x=LEFT - 6, y=up(value) + 4, class_="end"),
        )
        for value in up.ticks()
    ]
    middle = (up.start + up.end) / 2
    title = element("text", axis.title, transform=f"translate(13 {middle:.1f}) rotate(-90)", class_="middle")
    return [*ticks, title]


def bottom_axis(across: Scale, bottom: float, values: list[float], title: str) -> list[Markup]:
    """Values below the plot, and the title below them."""
    ticks = [element("text", f"{value:g}", x=across(value), y=bottom + 16, class_="middle") for value in values]
    return [*ticks, element("text", title, x=(LEFT + RIGHT) / 2, y=bottom + 36, class_="middle")]
