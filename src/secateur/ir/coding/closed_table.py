"""Closed tables of codes: a stream begins with the index of its row, and the smallest that any row makes is kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from secateur.errors import ArtifactError
from secateur.ir.coding.varint import Bytes, Reader

Row = TypeVar("Row")


def smallest(streams: Iterable[tuple[int, bytes | None]]) -> tuple[bytes, bytes]:
    """The index, as the byte a file holds, and the stream of the row with the fewest bytes, the first of equal ones.
    None: that row does not apply; one at least does."""
    index, stream = min(((i, s) for i, s in streams if s is not None), key=lambda choice: len(choice[1]))
    return bytes([index]), stream


def row_of(table: Sequence[Row], stream: Bytes, what: str) -> tuple[Row, Reader]:
    """The row that a stream names, and the rest of the stream; ArtifactError where the table has no such row.

    what  the rows of this table are, for the message
    """
    reader = Reader(stream)
    index = reader.take(1)[0]
    if index >= len(table):
        raise ArtifactError(f"damaged artifact: there is no {what} {index}")
    return table[index], reader
