"""A table of text, for terminals and for files that are read by grep and diff."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence


def text_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[str] = ()) -> str:
    """Columns two spaces apart, a rule below the header; the columns named in `right` are aligned to the right."""
    lines = [tuple(header), *(tuple(row) for row in rows)]
    rule = tuple("-" * width for width in _widths(lines))
    return "\n".join(aligned([lines[0], rule, *lines[1:]], right={header.index(name) for name in right}))


def aligned(rows: Sequence[Sequence[str]], *, right: Collection[int] = ()) -> list[str]:
    """A line a row, columns two spaces apart; those with the numbers in `right` are aligned to the right."""
    widths = _widths(rows)

    def show(row: Sequence[str]) -> str:
        cells = (
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return "  ".join(cells).rstrip()

    return [show(row) for row in rows]


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]
