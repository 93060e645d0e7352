"""Histograms of weights on a logarithmic axis, with the edges of the dead zone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from secateur.reporting.charts.axes import COLOURS, LABEL_STEP, LEFT, RIGHT, WIDTH, Axis, bottom_axis, left_axis
from secateur.reporting.charts.svg import Scale, drawing, element, group, path

HEIGHT, TOP, BOTTOM = 230.0, 12.0, 182.0
FLOOR = 0.7
"""Where the logarithmic axis begins, so that a bin with one weight is seen."""


def histogram_chart(
    title: str, edges: Sequence[float], series: Mapping[str, Sequence[int]], threshold: float
) -> Markup:
    """Counts by bin: the first series as a line, further ones as bars, and a vertical line at both edges of the
    threshold. edges has one element more than every series."""
    most = max((max(counts, default=0) for counts in series.values()), default=0)
    across = Scale(edges[0], edges[-1], LEFT, RIGHT)
    up = Scale(FLOOR, max(10.0, 1.5 * most), BOTTOM, TOP, log=True)
    drawn = [
        _bars(counts, edges, across, up, index) if index else _outline(counts, edges, across, up)
        for index, counts in enumerate(series.values())
    ]
    shapes = [
        *left_axis(up, Axis("weights in a bin", lambda value: f"{value:,.0f}", log=True)),
        *reversed(drawn),
        *(_edge(across(value)) for value in (-threshold, threshold)),
        *bottom_axis(across, BOTTOM, across.ticks(8), "weight"),
        *_legend([*series, f"threshold ±{threshold:.3g}"]),
    ]
    counted = "; ".join(f"{name}: {sum(counts):,} weights" for name, counts in series.items())
    words = f"{counted}; threshold at plus and minus {threshold:.3g}"
    return drawing(WIDTH, HEIGHT, *shapes, title=title, description=words)


def _outline(counts: Sequence[int], edges: Sequence[float], across: Scale, up: Scale) -> Markup:
    points = [(across(edges[0]), up(FLOOR))]
    for count, start, end in zip(counts, edges[:-1], edges[1:], strict=True):
        points += [(across(start), up(max(FLOOR, count))), (across(end), up(max(FLOOR, count)))]
    return element("path", d=path([*points, (across(edges[-1]), up(FLOOR))]), class_="line thin s0")


def _bars(counts: Sequence[int], edges: Sequence[float], across: Scale, up: Scale, index: int) -> Markup:
    floor = up(FLOOR)
    bars = [
        element("rect", x=across(a), y=up(n), width=across(b) - across(a), height=floor - up(n))
        for n, a, b in zip(counts, edges[:-1], edges[1:], strict=True)
        if n
    ]
    return group(*bars, class_=f"fill s{index % COLOURS}")


def _edge(x: float) -> Markup:
    return element("line", x1=x, x2=x, y1=TOP, y2=BOTTOM, class_="mark")


def _legend(labels: Sequence[str]) -> list[Markup]:
    """One sample and label a series, the threshold last."""
    shapes, x = [], RIGHT + 10
    for index, label in enumerate(labels):
        y = TOP + 12 + LABEL_STEP * 1.3 * index
        if index == len(labels) - 1:
            sample = element("line", x1=x + 8, x2=x + 8, y1=y - 7, y2=y + 7, class_="mark")
        elif index:
            sample = element("rect", x=x, y=y - 5, width=16.0, height=10.0, class_=f"fill s{index % COLOURS}")
        else:
            sample = element("path", d=path([(x, y), (x + 16, y)]), class_="line thin s0")
        shapes.append(group(sample, element("text", label, x=x + 22, y=y + 4)))
    return shapes
