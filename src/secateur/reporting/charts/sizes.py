"""Bytes of tensors, before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from secateur.reporting.charts.axes import COLOURS, WIDTH
from secateur.reporting.charts.svg import Scale, drawing, element, group


def bytes_chart(title: str, rows: Sequence[tuple[str, int, Mapping[str, int]]], streams: Sequence[str]) -> Markup:
    """One row a tensor: its bytes before, and beside it, on a scale of its own, its bytes after as a bar of streams."""
    top, step = 44.0, 22.0
    height = top + step * len(rows) + 30.0
    before = Scale(0, max([1, *(size for _, size, _ in rows)]), 190.0, 350.0)
    after = Scale(0, max([1, *(sum(parts.values()) for _, _, parts in rows)]), 450.0, 680.0)
    shapes = [
        element("text", "before, dense float32", x=190.0, y=18.0, class_="strong"),
        element("text", "in the file (another scale)", x=450.0, y=18.0, class_="strong"),
    ]
    for index, (name, size, parts) in enumerate(rows):
        y = top + step * index
        shapes += _byte_row(name, size, parts, streams, y=y, scales=(before, after))
    shapes += _stream_legend(streams, height - 8.0)
    words = "; ".join(f"{name}: {size:,} bytes before, {sum(parts.values()):,} after" for name, size, parts in rows)
    return drawing(WIDTH, height, *shapes, title=title, description=words)


def _byte_row(
    name: str, size: int, parts: Mapping[str, int], streams: Sequence[str], *, y: float, scales: tuple[Scale, Scale]
) -> list[Markup]:
    before, after = scales
    shapes = [
        element("text", _shortened(name), x=182.0, y=y + 4, class_="end"),
        element("rect", x=before.start, y=y - 7, width=before(size) - before.start, height=14.0, class_="before"),
        element("text", f"{size:,}", x=before(size) + 5, y=y + 4),
    ]
    done = 0
    for stream, part in parts.items():
        kind = streams.index(stream) % COLOURS
        start, done = done, done + part
        width = after(done) - after(start)
        shapes.append(element("rect", x=after(start), y=y - 7, width=width, height=14.0, class_=f"fill s{kind}"))
    return [*shapes, element("text", f"{done:,}", x=after(done) + 5, y=y + 4)]


def _stream_legend(streams: Sequence[str], y: float) -> list[Markup]:
    shapes, x = [], 450.0
    for index, stream in enumerate(streams):
        sample = element("rect", x=x, y=y - 9, width=10.0, height=10.0, class_=f"fill s{index % COLOURS}")
        shapes.append(group(sample, element("text", stream, x=x + 14, y=y)))
        x += 26 + 7.0 * len(stream)
    return shapes


def _shortened(name: str) -> str:
    return name if len(name) <= 26 else f"...{name[-23:]}"
