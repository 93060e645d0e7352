"""Histograms of weights on a logarithmic axis, with the edges of the dead zone; and of how many weights groups keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from secateur.reporting.charts.axes import COLOURS, LETTER, Axis, Frame, bottom_axis, left_axis
from secateur.reporting.charts.svg import Scale, drawing, element, group, number, path
from secateur.reporting.numbers import brief

HISTOGRAM = Frame(440.0, 230.0, 66.0, 426.0, 40.0, 186.0)
OUTLINE = "line thin s0"
FLOOR = 0.7
"""Where the logarithmic axis begins, so that a bin with one weight is seen."""


def histogram_chart(
    title: str, edges: Sequence[float], series: Mapping[str, Sequence[int]], threshold: float
) -> Markup:
    """Counts by bin: the first series as a line, further ones as bars, and a vertical line at both edges of the
    threshold. edges has one element more than every series."""
    most = max((max(counts, default=0) for counts in series.values()), default=0)
    frame = HISTOGRAM
    across = Scale(edges[0], edges[-1], frame.left, frame.right)
    up = Scale(FLOOR, max(10.0, 1.5 * most), frame.bottom, frame.top, log=True)
    drawn = [
        element("path", d=_steps(counts, edges, across, up), class_=f"fill s{index % COLOURS}" if index else OUTLINE)
        for index, counts in enumerate(series.values())
    ]
    shapes = [
        *left_axis(up, Axis("weights in a bin", brief, log=True), frame),
        *reversed(drawn),
        *(_edge(across(value)) for value in (-threshold, threshold)),
        *bottom_axis(across, across.ticks(6), "weight", frame),
        *_legend([*series, f"threshold ±{threshold:.3g}"]),
    ]
    counted = "; ".join(f"{name}: {sum(counts):,} weights" for name, counts in series.items())
    words = f"{counted}; threshold at plus and minus {threshold:.3g}"
    return drawing(frame.width, frame.height, *shapes, title=title, description=words)


def counts_chart(title: str, series: Mapping[str, Sequence[int]]) -> Markup:
    """How many groups keep how many weights: the first series as a line, further ones as bars; series[label][c] groups
    keep c."""
    longest = max((len(groups) for groups in series.values()), default=0)
    filled = {label: [*groups, *[0] * (longest - len(groups))] for label, groups in series.items()}
    edges = [count - 0.5 for count in range(longest + 1)]
    frame = HISTOGRAM
    across = Scale(edges[0], max(edges[-1], 0.5), frame.left, frame.right)
    most = max((max(groups, default=0) for groups in filled.values()), default=0)
    up = Scale(FLOOR, max(10.0, 1.5 * most), frame.bottom, frame.top, log=True)
    drawn = [
        element("path", d=_steps(groups, edges, across, up), class_=f"fill s{index % COLOURS}" if index else OUTLINE)
        for index, groups in enumerate(filled.values())
    ]
    marks = [tick for tick in across.ticks(8) if tick == int(tick)]
    shapes = [
        *left_axis(up, Axis("groups", brief, log=True), frame),
        *reversed(drawn),
        *bottom_axis(across, marks, "weights that a group keeps", frame),
        *_legend(list(series), edge=False),
    ]
    words = "; ".join(
        f"{label}: " + ", ".join(f"{found:,} groups keep {count}" for count, found in enumerate(groups) if found)
        for label, groups in series.items()
    )
    return drawing(frame.width, frame.height, *shapes, title=title, description=words)


def _steps(counts: Sequence[int], edges: Sequence[float], across: Scale, up: Scale) -> str:
    """The outline of all bars as one path, in the few letters that horizontal and vertical strokes need."""
    floor = number(up(FLOOR))
    strokes = [f"M{number(across(edges[0]))} {floor}"]
    for count, end in zip(counts, edges[1:], strict=True):
        strokes.append(f"V{number(up(max(FLOOR, count)))}H{number(across(end))}")
    return "".join([*strokes, f"V{floor}"])


def _edge(x: float) -> Markup:
    return element("line", x1=x, x2=x, y1=HISTOGRAM.top, y2=HISTOGRAM.bottom, class_="mark")


def _legend(labels: Sequence[str], *, edge: bool = True) -> list[Markup]:
    """One sample and label a series above the plot, the threshold last where there is an edge; a second row where the
    first is full."""
    shapes, x, y = [], HISTOGRAM.left, 12.0
    for index, label in enumerate(labels):
        if x > HISTOGRAM.left and x + 22 + LETTER * len(label) > HISTOGRAM.width:
            x, y = HISTOGRAM.left, y + 16
        if edge and index == len(labels) - 1:
            sample = element("line", x1=x + 8, x2=x + 8, y1=y - 7, y2=y + 7, class_="mark")
        elif index:
            sample = element("rect", x=x, y=y - 5, width=16.0, height=10.0, class_=f"fill s{index % COLOURS}")
        else:
            sample = element("path", d=path([(x, y), (x + 16, y)]), class_=OUTLINE)
        shapes.append(group(sample, element("text", label, x=x + 22, y=y + 4)))
        x += 36 + LETTER * len(label)
    return shapes
