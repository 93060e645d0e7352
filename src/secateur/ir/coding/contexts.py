"""Positions coded with row and column contexts, in O(non-zeros + rows + columns) steps.

A pruned matrix is seldom even: some neurons keep many weights, some few. Rows and columns are sorted into density
classes by their counts, and each class has a small integer weight. Element (i, j) then owns an interval of length
row_weight[i] * column_weight[j] on a line, elements in row-major order, and the non-zeros are points of a Poisson
process of even rate on that line: gaps between them are coded as whole cells missed (adaptive binary decisions) and as
the element's interval inside the cell that was hit. With one class this is a Golomb code (S. W. Golomb, 1966) with
adaptive probabilities; with classes, non-zeros cost as if every block of equal classes had a code of its own.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate, pairwise
from math import log2

import numpy as np

from secateur.errors import ArtifactError
from secateur.ir.coding.images import matrix_shape
from secateur.ir.coding.range_coder import INTERVAL_LIMIT, Decoder, Encoder, Models, affordable
from secateur.ir.coding.varint import Bytes

MOST_NONZEROS = 200_000  # about a second of plain Python; larger tensors have codes that numpy runs
MOST_LINES = 1_000_000  # rows plus columns, each of which costs the encoder a step
LONG_LINES = 1 << 16
CLASS_BITS = 2  # at most four classes of rows and as many of columns
TOP_WEIGHT = 31  # the densest class weighs this, the others proportionally less
WEIGHT_COST_BITS = 5 + 10  # what a further class costs apart from the map: its weight, and its models that must learn
MANY_NONZEROS = 50_000  # from here on an even mask is left to zstd, which codes its bytes much faster
MASK_DENSITY = 0.4  # and, where they are as dense as this, to one per cent as well
CELLS_A_NONZERO = 16  # bounds the work: no more cells on the line than this times the non-zeros (plus one)


def encode_contexts(positions: np.ndarray, shape: tuple[int, ...]) -> bytes | None:
    """The stream, or None where the tensor is beyond what plain Python does in a second."""
    rows, columns = matrix_shape(shape)
    if not 0 < positions.size <= MOST_NONZEROS or rows + columns > MOST_LINES:
        return None
    row_of, column_of = np.divmod(positions, columns)
    encoder = Encoder()
    row_weights = _send_weights(encoder, np.bincount(row_of, minlength=rows))
    column_weights = _send_weights(encoder, np.bincount(column_of, minlength=columns))
    even = max(row_weights) == max(column_weights) == 1
    if even and is_for_masks(rows * columns, positions.size):
        return None
    line = _Line(row_weights, column_weights, positions.size)
    if line.cells > CELLS_A_NONZERO * (positions.size + 1):
        return None
    models, base = Models(1), 0
    for row, column in zip(row_of.tolist(), column_of.tolist(), strict=True):
        start, end = line.interval(row, column)
        missed = (start - base) // line.cell
        low = base + missed * line.cell
        if end - low - line.cell > low + line.cell - start:  # an element over a cell's edge belongs to its larger part
            missed += 1
            low += line.cell
        encoder.misses(models, 0, missed)
        first, last = max(start, low), min(end, low + line.cell)
        encoder.interval(first - low, last - first, line.cell)
        base = end
    stream = encoder.finish()
    return stream if affordable(_work_us(rows + columns, positions.size), len(stream)) else None


def decode_contexts(stream: Bytes, shape: tuple[int, ...], nonzeros: int) -> np.ndarray:
    """The positions, int64. ArtifactError on any stream that `encode_contexts` does not write."""
    rows, columns = matrix_shape(shape)
    fits = 0 < nonzeros <= MOST_NONZEROS and rows + columns <= MOST_LINES
    if not fits or not affordable(_work_us(rows + columns, nonzeros), len(stream)):
        raise ArtifactError(f"damaged artifact: {nonzeros} non-zeros of {rows} x {columns} are not coded with contexts")
    decoder = Decoder(stream)
    line = _Line(_receive_weights(decoder, rows), _receive_weights(decoder, columns), nonzeros)
    if line.cells > CELLS_A_NONZERO * (nonzeros + 1):
        raise ArtifactError("damaged artifact: the density classes of a tensor do not fit its non-zeros")
    models, base, cell, positions = Models(1), 0, line.cell, []
    for _ in range(nonzeros):
        missed = decoder.misses(models, 0, (line.length - base) // cell)
        low = base + missed * cell
        position, start, base = line.element(low + decoder.point(cell))
        first = start if start > low else low
        decoder.take(first - low, (base if base < low + cell else low + cell) - first)
        positions.append(position)
    decoder.finish()
    return np.array(positions, dtype=np.int64)


class _Line:
    """Where each element lies on the line, and the cells that gaps are counted in."""

    __slots__ = ("cell", "cells", "column_starts", "column_weights", "length", "row_starts", "row_weights")

    def __init__(self, row_weights: bytes, column_weights: bytes, nonzeros: int) -> None:
        self.row_weights, self.column_weights = row_weights, column_weights
        self.column_starts = _numbers(accumulate(column_weights, initial=0), len(column_weights))
        width = self.column_starts.pop()
        self.row_starts = _numbers((start * width for start in accumulate(row_weights, initial=0)), len(row_weights))
        self.length = self.row_starts.pop()
        # 0.4 mean gaps: small enough that points are even inside a cell to 0.01 bits, large enough for few misses
        self.cell = min(max(1, 2 * self.length // (5 * nonzeros)), INTERVAL_LIMIT)
        self.cells = self.length // self.cell

    def interval(self, row: int, column: int) -> tuple[int, int]:
        weight = self.row_weights[row]
        start = self.row_starts[row] + weight * self.column_starts[column]
        return start, start + weight * self.column_weights[column]

    def element(self, point: int) -> tuple[int, int, int]:
        """The element that owns a point, as flat position, and its interval."""
        if point >= self.length:
            raise ArtifactError("damaged artifact: a position lies outside its tensor")
        row = bisect_right(self.row_starts, point) - 1
        start, weight = self.row_starts[row], self.row_weights[row]
        column = bisect_right(self.column_starts, (point - start) // weight) - 1
        start += weight * self.column_starts[column]
        return row * len(self.column_starts) + column, start, start + weight * self.column_weights[column]


def is_for_masks(size: int, nonzeros: int) -> bool:
    """Whether a mask through zstd comes within one per cent of what even non-zeros cost, and much faster."""
    return nonzeros > MANY_NONZEROS and nonzeros > MASK_DENSITY * size


def _numbers(numbers: Iterable[int], count: int) -> list[int] | array[int]:
    """Lists are faster; arrays take a fifth of the memory, where a few bytes announce a million rows."""
    return list(numbers) if count < LONG_LINES else array("q", numbers)


def _work_us(lines: int, nonzeros: int) -> int:
    return lines + 4 * nonzeros


def _send_weights(encoder: Encoder, counts: np.ndarray) -> bytes:
    """Choose classes for the rows (or columns) with these counts, send them, and give each row its class's weight."""
    edges = _class_edges(counts)
    classes = np.searchsorted(edges, counts, side="right").tolist()
    encoder.interval(len(edges), 1, 1 << CLASS_BITS)
    if not len(edges):
        return bytes([1]) * len(classes)
    members = np.bincount(classes, minlength=len(edges) + 1)
    means = np.bincount(classes, weights=counts, minlength=len(edges) + 1) / members
    weights = [0 if not mean else max(1, round(TOP_WEIGHT * mean / means[-1])) for mean in means]
    for weight in weights[:-1]:
        encoder.interval(weight, 1, TOP_WEIGHT + 1)
    bits = len(edges).bit_length()
    models, last = _class_models(bits), 0
    for group in classes:
        encoder.symbols(models[last], bits, (group,))
        last = group
    return bytes(weights[group] for group in classes)


def _receive_weights(decoder: Decoder, lines: int) -> bytes:
    edges = decoder.uniform(1 << CLASS_BITS)
    if not edges:
        return bytes([1]) * lines
    weights = [decoder.uniform(TOP_WEIGHT + 1) for _ in range(edges)] + [TOP_WEIGHT]
    bits = edges.bit_length()
    models, last, chosen = _class_models(bits), 0, bytearray()
    for _ in range(lines):
        (last,) = decoder.symbols(models[last], bits, 1)
        if last > edges:
            raise ArtifactError("damaged artifact: a density class that was not announced")
        chosen.append(weights[last])
    return bytes(chosen)


def _class_models(bits: int) -> list[Models]:
    """Models of a class by the class of the row before: neighbours (pixels, say) are often alike."""
    return [Models(1 << bits) for _ in range(1 << bits)]


def _class_edges(counts: np.ndarray) -> np.ndarray:
    """Counts at which the next class begins: split greedily while data and class map together become smaller."""
    distinct, members = np.unique(counts, return_counts=True)
    bounds = [0, distinct.size]
    cost = _partition_bits(distinct, members, bounds)
    while len(bounds) <= 1 << CLASS_BITS:
        trials = [sorted([*bounds, split]) for split in _split_candidates(distinct.size) if split not in bounds]
        best = min(trials, key=lambda trial: _partition_bits(distinct, members, trial), default=bounds)
        if (lower := _partition_bits(distinct, members, best)) >= cost:
            break
        bounds, cost = best, lower
    return distinct[bounds[1:-1]]


def _split_candidates(distinct: int) -> list[int]:
    """Places to split the distinct counts, every one of the first 32, thinner after."""
    return sorted({min(k, int(2 ** (k / 6.4))) for k in range(1, 200)} & set(range(1, distinct)))


def _partition_bits(distinct: np.ndarray, members: np.ndarray, bounds: list[int]) -> float:
    """Bits to place the non-zeros in their rows and to send the rows' classes, but for what no partition changes."""
    lines, total = int(members.sum()), 0.0
    for low, high in pairwise(bounds):
        inside, points = int(members[low:high].sum()), int((members * distinct)[low:high].sum())
        total += inside * log2(lines / inside) - (points * log2(points / inside) if points else 0.0)
    return total + WEIGHT_COST_BITS * (len(bounds) - 2)
