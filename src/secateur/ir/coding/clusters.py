"""Positions coded row by row: how many clusters begin in a row, where, and how each of them goes on.

What rows and columns alone do not say: columns (inputs) that earlier rows used are used again, and in a layer that
reads images non-zeros cluster. An element is hot when the one before it, or the one above it in the image, is a
non-zero; whether it is one too is an adaptive decision. All others are cold: the number of cold non-zeros is sent with
the row, and the next one of k lies on a line on which column j takes n_j + alpha, its non-zeros so far and a prior. So
rates are learned on the way and cost no map.

The first of k points on a line of length L lies beyond x with probability (1 - x / L)^k: integers all through, so that
a stream decodes to the same elements on every machine. Ours; for rates learned by counting see R. Krichevsky,
V. Trofimov, "The performance of universal encoding", IEEE Trans. Inf. Theory 27 (1981).
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

import numpy as np

from secateur.errors import ArtifactError
from secateur.ir.coding.images import ABOVE, LEFT, Image, best_image, matrix_shape
from secateur.ir.coding.range_coder import INTERVAL_LIMIT, Decoder, Encoder, Models, affordable
from secateur.ir.coding.varint import Bytes, Reader

MOST_NONZEROS = 20_000  # a fifth of a second of plain Python
MOST_ELEMENTS = 5_000_000
MOST_COLUMNS = 50_000  # a row of them is a list in memory
COUNT = 16  # what a non-zero adds to its column's length on the line
PRIORS = (4, 8, 16, 32, 64, 128)  # what every column has from the beginning
MANY = 2  # times the mean: where a column counts as one with many non-zeros
ONE_BITS = 16
ONE = 1 << ONE_BITS  # the probability one
FINE_BITS = 30  # in which powers are taken


@dataclass(frozen=True)
class _Rule:
    """What a stream says before its decisions.

    prior  of the line; an index of PRIORS
    bits   of the largest number of clusters that begin in one row
    """

    image: Image
    prior: int
    bits: int

    def to_bytes(self) -> bytes:
        return bytes([self.prior, self.bits]) + self.image.to_bytes()

    @classmethod
    def read(cls, reader: Reader, columns: int) -> _Rule:
        prior, bits = reader.take(2)
        if prior >= len(PRIORS) or bits > columns.bit_length():
            raise ArtifactError("damaged artifact: the clusters of a tensor do not fit it")
        return cls(Image.read(reader, columns), prior, bits)


def encode_clusters(positions: np.ndarray, shape: tuple[int, ...]) -> bytes | None:
    """The stream, or None where the tensor is beyond what plain Python does quickly."""
    rows, columns = matrix_shape(shape)
    if not _is_small(rows, columns, positions.size):
        return None
    row_of, column_of = np.divmod(positions, columns)
    prior = _best_prior(row_of, column_of, columns)
    images = {Image(), best_image(positions, shape)}
    best = min((_encoded(row_of, column_of, (rows, columns), prior, image) for image in images), key=len)
    return best if affordable(_work_us(rows, columns, positions.size), len(best)) else None


def decode_clusters(stream: Bytes, shape: tuple[int, ...], nonzeros: int) -> np.ndarray:
    """The positions, int64. ArtifactError on any stream that `encode_clusters` does not write."""
    rows, columns = matrix_shape(shape)
    if not _is_small(rows, columns, nonzeros):
        raise ArtifactError(f"damaged artifact: {nonzeros} non-zeros of {rows} x {columns} are not coded as clusters")
    if not affordable(_work_us(rows, columns, nonzeros), len(stream)):
        raise ArtifactError(f"damaged artifact: {len(stream)} bytes are too few for {nonzeros} clustered non-zeros")
    reader = Reader(stream)
    rule = _Rule.read(reader, columns)
    port, found = _Reader(reader.rest()), list[int]()
    for row, inside in enumerate(_walk(port, (rows, columns), rule, nonzeros)):
        found += [row * columns + column for column in inside]
    if len(found) != nonzeros:
        raise ArtifactError("damaged artifact: the clusters of a tensor do not match its non-zeros")
    port.coder.finish()
    return np.array(found, dtype=np.int64)


def _encoded(row_of: np.ndarray, column_of: np.ndarray, size: tuple[int, int], prior: int, image: Image) -> bytes:
    rows = size[0]
    ends = np.searchsorted(row_of, np.arange(rows + 1)).tolist()
    chosen = [set(column_of[ends[row] : ends[row + 1]].tolist()) for row in range(rows)]
    cold = []
    for row in chosen:
        hot = {neighbour for column in row for _, neighbour in image.after(column)}
        cold.append(sorted(row - hot, reverse=True))
    rule = _Rule(image, prior, max(map(len, cold)).bit_length())
    port = _Writer(chosen, cold)
    for _ in _walk(port, size, rule, len(row_of)):
        pass
    return rule.to_bytes() + port.coder.finish()


class _Port(Protocol):
    """One end of the walk: the writer knows what comes, the reader finds out."""

    def count(self, models: Models, bits: int, row: int, /) -> int:
        """How many clusters begin in this row, of so many bits."""
        ...

    def hot(self, models: Models, index: int, column: int, /) -> int:
        """Whether a hot column is a non-zero."""
        ...

    def beyond(self, odds: int, stop: int, /) -> int:
        """Whether the next cold non-zero stands at `stop` or after, with probability odds / ONE."""
        ...

    def missed(self, odds: int, cell: tuple[int, int, int], ends: list[int], /) -> int:
        """Whether the next cold non-zero lies beyond the first of two neighbouring cells of the line."""
        ...

    def pick(self, low: int, high: int, ends: list[int], /) -> int:
        """The column of the next cold non-zero, which lies on [low, high) of the line, or there for the most part."""
        ...


class _Writer:
    def __init__(self, chosen: list[set[int]], cold: list[list[int]]) -> None:
        self.coder = Encoder()
        self.chosen, self.cold, self.row = chosen, cold, 0

    def count(self, models: Models, bits: int, row: int) -> int:
        self.row = row
        self.coder.symbols(models, bits, (len(self.cold[row]),))
        return len(self.cold[row])

    def hot(self, models: Models, index: int, column: int) -> int:
        bit = int(column in self.chosen[self.row])
        self.coder.bit(models, index, bit)
        return bit

    def beyond(self, odds: int, stop: int) -> int:
        return self._decide(odds, self.cold[self.row][-1] >= stop)

    def missed(self, odds: int, cell: tuple[int, int, int], ends: list[int]) -> int:
        low, high, after = cell
        start, end = ends[self.cold[self.row][-1]], ends[self.cold[self.row][-1] + 1]
        return self._decide(odds, min(end, after) - max(start, high) > min(end, high) - max(start, low))

    def pick(self, low: int, high: int, ends: list[int]) -> int:
        column = self.cold[self.row].pop()
        start, end = max(ends[column], low), min(ends[column + 1], high)
        self.coder.interval(start - low, end - start, high - low)
        return column

    def _decide(self, odds: int, bit: bool) -> int:
        self.coder.interval(0 if bit else odds, odds if bit else ONE - odds, ONE)
        return int(bit)


class _Reader:
    def __init__(self, data: Bytes) -> None:
        self.coder = Decoder(data)

    def count(self, models: Models, bits: int, _row: int) -> int:
        return self.coder.symbols(models, bits, 1)[0]

    def hot(self, models: Models, index: int, _column: int) -> int:
        return self.coder.bit(models, index)

    def beyond(self, odds: int, _stop: int) -> int:
        bit = self.coder.point(ONE) < odds
        self.coder.take(0 if bit else odds, odds if bit else ONE - odds)
        return int(bit)

    def missed(self, odds: int, _cell: tuple[int, int, int], _ends: list[int]) -> int:
        return self.beyond(odds, 0)

    def pick(self, low: int, high: int, ends: list[int]) -> int:
        column = bisect_right(ends, low + self.coder.point(high - low)) - 1
        start, end = max(ends[column], low), min(ends[column + 1], high)
        self.coder.take(start - low, end - start)
        return column


def _walk(port: _Port, size: tuple[int, int], rule: _Rule, nonzeros: int) -> Iterator[list[int]]:
    """The columns of the non-zeros, row by row. ArtifactError as soon as there are more than announced."""
    rows, columns = size
    counts, hots = Models(1 << rule.bits), Models(3 * (1 + LEFT + ABOVE))
    seen, lengths, total = [0] * columns, [PRIORS[rule.prior]] * columns, 0
    for row in range(rows):
        cold = port.count(counts, rule.bits, row)
        if not cold:
            yield []
            continue
        line = _Row(port, rule.image, lengths)
        found = line.found
        while cold or line.waiting:
            if total + cold + len(found) > nonzeros:
                raise ArtifactError("damaged artifact: the clusters of a tensor do not match its non-zeros")
            if cold and (column := line.next_cold(cold)) >= 0:
                cold -= 1
                line.take(column)
                continue
            column, reasons = line.next_hot()
            many = (MANY * total < seen[column] * columns) + (seen[column] > 0)
            if port.hot(hots, 3 * reasons + many, column):
                line.take(column)
        for column in found:
            seen[column] += 1
            lengths[column] += COUNT
        total += len(found)
        yield found


class _Row:
    """A row while it is walked.

    ends     where each column begins on the line, and its end
    place    the first column that is not decided
    waiting  hot columns that are not decided, ascending; reasons: why each is hot; heat: their length on the line
    """

    def __init__(self, port: _Port, image: Image, lengths: list[int]) -> None:
        self.port, self.image, self.lengths = port, image, lengths
        self.ends = list(accumulate(lengths, initial=0))
        self.place, self.heat = 0, 0
        self.waiting: list[int] = []
        self.reasons: dict[int, int] = {}
        self.found: list[int] = []

    def take(self, column: int) -> None:
        """A non-zero; what is beside and below it is hot."""
        self.found.append(column)
        self.place = column + 1
        for reason, neighbour in self.image.after(column):
            if neighbour >= len(self.lengths):
                continue
            if neighbour not in self.reasons:
                self.reasons[neighbour] = 0
                self.heat += self.lengths[neighbour]
                insort(self.waiting, neighbour)
            self.reasons[neighbour] |= reason

    def next_hot(self) -> tuple[int, int]:
        """The next hot column, about to be decided, and why it is hot."""
        if not self.waiting:
            raise ArtifactError("damaged artifact: a row of a tensor announces more non-zeros than fit")
        column = self.waiting.pop(0)
        self.heat -= self.lengths[column]
        self.place = column + 1
        return column, self.reasons.pop(column)

    def next_cold(self, cold: int) -> int:
        """The next of so many cold non-zeros, or -1 where a hot column comes first."""
        port, ends = self.port, self.ends
        stop = self.waiting[0] if self.waiting else len(self.lengths)
        low, high = ends[self.place], ends[stop]
        if low == high:
            return -1
        left = ends[-1] - low - self.heat
        if self.waiting and port.beyond(_power(left - (high - low), left, cold) or 1, stop):
            return -1
        cell = min(left if cold == 1 else 2 * left // (5 * cold) + 1, INTERVAL_LIMIT)
        while low + cell < high:
            odds = _power(left - cell, left, cold)
            if self.waiting:
                none = _power(left - (high - low), left, cold)
                odds = (odds - none) * ONE // (ONE - none)
            if not port.missed(odds or 1, (low, low + cell, min(low + 2 * cell, high)), ends):
                high = low + cell
                break
            low += cell
            left -= cell
        return port.pick(low, high, ends)


def _power(part: int, whole: int, exponent: int) -> int:
    """(part / whole) ** exponent in units of 1 / ONE, for part < whole: below ONE."""
    base = (part << FINE_BITS) // whole
    power = base if exponent & 1 else 1 << FINE_BITS
    while exponent := exponent >> 1:
        base = base * base >> FINE_BITS
        if exponent & 1:
            power = power * base >> FINE_BITS
    return power >> (FINE_BITS - ONE_BITS)


def _is_small(rows: int, columns: int, nonzeros: int) -> bool:
    return 0 < nonzeros <= MOST_NONZEROS and columns <= MOST_COLUMNS and rows * columns <= MOST_ELEMENTS


def _work_us(rows: int, columns: int, nonzeros: int) -> int:
    return rows * columns // 64 + 2 * rows + 10 * nonzeros


def _best_prior(row_of: np.ndarray, column_of: np.ndarray, columns: int) -> int:
    """The index of the prior under which the columns of the non-zeros cost least, all of them taken as cold."""
    order = np.lexsort((row_of, column_of))
    sorted_columns = column_of[order]
    firsts = np.flatnonzero(np.diff(sorted_columns, prepend=-1))
    before = np.arange(len(order)) - np.repeat(firsts, np.diff(firsts, append=len(order)))
    rows_before = np.searchsorted(row_of, row_of)  # non-zeros in earlier rows
    costs = [
        np.log2(COUNT * rows_before + prior * columns).sum() - np.log2(COUNT * before + prior).sum() for prior in PRIORS
    ]
    return int(np.argmin(costs))
