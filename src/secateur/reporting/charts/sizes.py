"""Bytes of tensors, before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from secateur.reporting.charts.axes import COLOURS, LETTER, WIDTH
from secateur.reporting.charts.svg import Scale, drawing, element, group
from secateur.reporting.names import cut


def file_chart(title: str, parts: Mapping[str, int]) -> Markup:
    """One bar, the whole file, divided into its parts; each with its bytes and share below it."""
    whole = sum(parts.values())
    across = Scale(0, max(1, whole), 0.0, WIDTH)
    shapes, done, x = [], 0, 0.0
    for index, (name, size) in enumerate(parts.items()):
        style = f"fill s{index % COLOURS}"
        start, done = across(done), done + size
        shapes.append(element("rect", x=start, y=4.0, width=across(done) - start, height=22.0, class_=style))
        text = f"{name} {size:,} B, {100 * size / max(1, whole):.1f} %"
        sample = element("rect", x=x, y=39.0, width=10.0, height=10.0, class_=style)
        shapes.append(group(sample, element("text", text, x=x + 15, y=48.0)))
        x += 36 + LETTER * len(text)
    words = "; ".join(f"{name}: {size:,} bytes" for name, size in parts.items())
    return drawing(WIDTH, 58.0, *shapes, title=title, description=words)


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
        element("text", cut(name, 26), x=182.0, y=y + 4, class_="end"),
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
