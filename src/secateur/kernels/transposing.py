"""A square of vectors transposed in registers: by interleaving, first numbers, then pairs, then quarters of vectors."""

from __future__ import annotations

from collections.abc import Sequence

from secateur.kernels.code import Value, vector

QUARTER = 4
"""Numbers of the pieces that vectors of 8 and 16 are made of on x86: instructions interleave within them or move them
whole, each in one step."""


def transposed(rows: Sequence[Value]) -> list[Value]:
    """Vector i of the result holds number i of every row; as many rows as a vector has lanes: 4, 8 or 16.

    After two steps vector 4 q + j holds, in every piece L, column 4 L + j of rows 4 q to 4 q + 3; then pieces move.
    """
    lanes = len(rows)
    pairs: list[Value] = []
    for a, b in zip(rows[::2], rows[1::2], strict=True):
        pairs += [_interleaved(a, b, 1, high) for high in (0, 1)]
    quads: list[Value] = []
    for first in range(0, lanes, QUARTER):
        for half in (0, 1):
            a, b = pairs[first + half], pairs[first + 2 + half]
            quads += [_interleaved(a, b, 2, high) for high in (0, 1)]
    columns: list[Value | None] = [None] * lanes
    for j in range(QUARTER):
        for piece, column in enumerate(_gathered(quads[j::QUARTER])):
            columns[QUARTER * piece + j] = column
    return [column for column in columns if column is not None]


def _interleaved(a: Value, b: Value, width: int, high: int) -> Value:
    """Of every piece the low or high half of a and that of b, `width` numbers from each in turn."""
    lanes, picked = _lanes(a), []
    for piece in range(0, lanes, QUARTER):
        for start in range(piece + high * 2, piece + high * 2 + 2, width):
            picked += [source + start + step for source in (0, lanes) for step in range(width)]
    return _shuffled(a, b, picked)


def _gathered(parts: list[Value]) -> list[Value]:
    """Vector L of the result holds piece L of every part."""
    if len(parts) == 1:
        return parts
    lanes = _lanes(parts[0])
    pieces = lanes // QUARTER
    if pieces == 2:
        return [_pieces(parts[0], parts[1], [piece, pieces + piece]) for piece in (0, 1)]
    by_parity = [
        [_pieces(parts[first], parts[first + 1], [odd, odd + 2, odd + 4, odd + 6]) for odd in (0, 1)]
        for first in (0, 2)
    ]
    return [
        _pieces(by_parity[0][piece % 2], by_parity[1][piece % 2], [p + piece // 2 for p in (0, 2, 4, 6)])
        for piece in range(pieces)
    ]


def _pieces(a: Value, b: Value, wanted: list[int]) -> Value:
    return _shuffled(a, b, [QUARTER * piece + step for piece in wanted for step in range(QUARTER)])


def _shuffled(a: Value, b: Value, picked: list[int]) -> Value:
    mask = ", ".join(f"i32 {number}" for number in picked)
    return a.code.emit(
        vector(len(picked)), f"shufflevector {a.type} {a.text}, {b.type} {b.text}, <{len(picked)} x i32> <{mask}>"
    )


def _lanes(x: Value) -> int:
    return int(x.type[1:].split()[0])
