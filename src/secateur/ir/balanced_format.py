"""Balanced: a matrix with at most n non-zeros in every 16 neighbouring columns of a row, laid out for vector units.

16 rows lie side by side, one a lane. A group is 16 columns, so where a non-zero stands in its group is a nibble. 64
columns of 16 rows are n slots of 64 entries; entry 4 r + j of slot s is number q = 4 s + j of the 4 n non-zeros that
row r has there, and belongs to group q // n of the four. A block of rows is one run of records, a record two slots:

    float32   64 bytes of nibbles (low: first slot, high: second), then the 8 vectors (slot, j) of 16 rows
    int8      the same nibbles, then the two slots of codes
    codes     the two slots, a byte an entry: the nibble, plus 16 times a 4-bit code that a table turns into an int8

Rows are filled up to whole blocks and columns to whole records; groups with fewer non-zeros hold zeros at place 0. Such
zeros add nothing. The pattern of US20200097830A1's groups; the layout is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from secateur.errors import ArtifactError
from secateur.ir.formats import same_bits

if TYPE_CHECKING:
    from jaxtyping import Float32, Int8, Shaped, UInt8

GROUP, ROWS, SLOT_COLUMNS = 16, 16, 64
"""Columns of a group, rows of a block, columns that n slots hold."""
COUNTS = (1, 2, 4, 8)
"""Non-zeros a group may hold at most: n of n:16."""
RECORD_BYTES = {"float32": 576, "int8": 192, "codes": 128}
"""Kind of values -> bytes of a record."""
SCALED_COLUMNS = 128
"""Columns that share a scale where scales are per group of columns."""
CODES = np.arange(-8, 8, dtype=np.int8)
"""The usual table: code c stands for c - 8."""


@dataclass(frozen=True, eq=False)
class Balanced:
    """The matrix; number = value (float32), int8 * scale, or table[code] * scale, multiplied in float32.

    shape    rows, columns (a linear layer's outputs, inputs)
    count    n of n:16, one of COUNTS
    kind     of values, a key of RECORD_BYTES
    stream   the records of each block of rows, as above
    scale    of int8 and codes: float32 a row, or float16 a row and SCALED_COLUMNS columns
    table    of codes: 16 int8 numbers, one of them 0
    ArtifactError where these do not fit together. `balanced` and `balanced_codes` make one.
    """

    shape: tuple[int, int]
    count: int
    kind: str
    stream: UInt8[np.ndarray, "blocks bytes"]
    scale: Shaped[np.ndarray, ...] | None = None
    table: Int8[np.ndarray, " 16"] | None = None

    def __post_init__(self) -> None:
        if self.count not in COUNTS or self.kind not in RECORD_BYTES:
            raise ArtifactError(f"{self.count}:{GROUP} {self.kind} is no balanced format: n is one of {COUNTS}")
        wanted = (blocks_of(self.shape[0], ROWS), self.records * RECORD_BYTES[self.kind])
        if self.stream.dtype != np.uint8 or self.stream.shape != wanted:
            raise ArtifactError(f"a balanced {self.shape} has a stream of uint8 {wanted}, not {self.stream.shape}")
        if (self.kind == "codes") != (self.table is not None) or (self.kind == "float32") != (self.scale is None):
            raise ArtifactError("codes have a table, int8 and codes have scales, float32 has neither")
        if self.scale is not None and (self.scale.dtype.name, self.scale.shape) not in self._scales():
            raise ArtifactError(f"scales of shape {self.scale.shape} do not fit: use one of {self._scales()}")

    def _scales(self) -> list[tuple[str, tuple[int, ...]]]:
        rows, columns = self.shape
        return [("float32", (rows,)), ("float16", (rows, blocks_of(columns, SCALED_COLUMNS)))]

    @property
    def slots(self) -> int:
        """Of a block of rows, zeros that fill columns up included: an even number."""
        return _slots(self.shape[1], self.count)

    @property
    def records(self) -> int:
        """Of a block of rows."""
        return self.slots // 2

    @property
    def nbytes(self) -> int:
        """Of stream and scales in memory."""
        return self.stream.nbytes + (0 if self.scale is None else self.scale.nbytes)

    def parts(self) -> tuple[UInt8[np.ndarray, "blocks slots 16 4"], Shaped[np.ndarray, "blocks slots 16 4"]]:
        """Every entry's place in its group and value: float32, int8, or the code's number in the table."""
        blocks, records = len(self.stream), self.records
        entries = self.stream.reshape(blocks, records, RECORD_BYTES[self.kind])
        if self.kind == "codes":
            assert self.table is not None
            both = entries.reshape(blocks, 2 * records, ROWS, 4)
            return both & 15, self.table[both >> 4]
        places, rest = np.empty((blocks, records, 2, ROWS, 4), np.uint8), np.ascontiguousarray(entries[:, :, 64:])
        nibbles = entries[:, :, :64].reshape(blocks, records, ROWS, 4)
        places[:, :, 0], places[:, :, 1] = nibbles & 15, nibbles >> 4
        if self.kind == "int8":
            values = rest.view(np.int8).reshape(blocks, 2 * records, ROWS, 4)
        else:
            by_row = rest.view(np.float32).reshape(blocks, 2 * records, 4, ROWS)
            values = np.ascontiguousarray(by_row.transpose(0, 1, 3, 2))
        return places.reshape(blocks, 2 * records, ROWS, 4), values

    def integers(self) -> Shaped[np.ndarray, "rows columns"]:
        """The values as a dense matrix, without scales."""
        places, values = self.parts()
        rows, groups = len(self.stream) * ROWS, self.slots * 4 // self.count
        made = np.zeros((rows, groups, GROUP), values.dtype)
        by_row = [part.transpose(0, 2, 1, 3).reshape(rows, groups, self.count) for part in (places, values)]
        found = np.nonzero(by_row[1])
        made[(*found[:2], by_row[0][found])] = by_row[1][found]
        return made.reshape(rows, groups * GROUP)[: self.shape[0], : self.shape[1]]

    def to_dense(self) -> Float32[np.ndarray, "rows columns"]:
        """What the matrix stands for."""
        values = self.integers().astype(np.float32)
        return values if self.scale is None else values * self.steps()

    def steps(self) -> Float32[np.ndarray, "rows columns"]:
        """The scale of every element."""
        assert self.scale is not None
        scale = self.scale.astype(np.float32)
        if scale.ndim == 1:
            return np.broadcast_to(scale[:, None], self.shape)
        return np.repeat(scale, SCALED_COLUMNS, axis=1)[:, : self.shape[1]]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Balanced) or (self.shape, self.count, self.kind) != (
            other.shape,
            other.count,
            other.kind,
        ):
            return False
        pairs = ((self.stream, other.stream), (self.scale, other.scale), (self.table, other.table))
        return all(b is None if a is None else b is not None and same_bits(a, b) for a, b in pairs)


def blocks_of(count: int, size: int) -> int:
    """How many blocks of `size` hold `count`."""
    return -(-count // size)


def pattern(array: Shaped[np.ndarray, "rows columns"]) -> int | None:
    """The smallest n of COUNTS that holds: non-zeros of the fullest group at most; None where that is above them."""
    rows, columns = array.shape
    whole = columns // GROUP * GROUP
    held = (array[:, :whole] != 0).reshape(rows, whole // GROUP, GROUP).sum(2, dtype=np.uint8).max(initial=0)
    most = max(int(held), int((array[:, whole:] != 0).sum(1).max(initial=0)))
    return next((count for count in COUNTS if most <= count), None)


def balanced(matrix: Float32[np.ndarray, ...], count: int | None = None) -> Balanced:
    """A float32 matrix of which every group holds at most `count` (None: the smallest that holds) non-zeros; -0.0 is
    0. ArtifactError where a group holds more."""
    places, values, n = _parts(matrix, count)
    blocks, slots = values.shape[:2]
    by_vector = np.ascontiguousarray(values.reshape(blocks, slots // 2, 2, ROWS, 4).transpose(0, 1, 2, 4, 3))
    stream = np.concatenate([_nibbles(places), _bytes(by_vector, slots)], axis=2)
    return Balanced(_sizes(matrix), n, "float32", _stream(stream))


def balanced_codes(
    matrix: Int8[np.ndarray, ...],
    scale: Shaped[np.ndarray, ...],
    count: int | None = None,
    *,
    table: Int8[np.ndarray, " 16"] | None = None,
) -> Balanced:
    """An int8 matrix times scales, as int8; or, with a table (CODES, or a codebook), as 4-bit codes of its numbers.

    A value of 2 or 3 bits costs what one of 4 does. ArtifactError where a group holds more non-zeros, a number is -128
    (so that no sum of two products leaves int16) or not in the table.
    """
    if table is not None and (table.dtype != np.int8 or table.shape != (16,) or not np.any(table == 0)):
        raise ArtifactError("a table of codes holds 16 int8 numbers, one of them 0")
    if matrix.dtype != np.int8 or np.any(matrix == -128) or (table is not None and np.any(table == -128)):
        raise ArtifactError("codes are int8 from -127 to 127")
    places, values, n = _parts(matrix, count)
    slots = values.shape[1]
    if table is None:
        stream = np.concatenate([_nibbles(places), _bytes(values, slots)], axis=2)
        return Balanced(_sizes(matrix), n, "int8", _stream(stream), scale)
    numbers = np.zeros(256, np.uint8)
    numbers[table[::-1].view(np.uint8)] = np.arange(16)[::-1]
    codes = numbers[values.view(np.uint8)]
    if not np.array_equal(table[codes], values):
        raise ArtifactError("a number is not in the table: quantize to its numbers first")
    return Balanced(_sizes(matrix), n, "codes", _stream(places | codes << 4), scale, table)


def _sizes(matrix: np.ndarray) -> tuple[int, int]:
    return matrix.shape[0], matrix.shape[1]


def unit_columns(count: int) -> int:
    """The fewest columns that fill whole records, which columns are filled up to: of n = 1 two slots."""
    return SLOT_COLUMNS * (2 if count == 1 else 1)


def _slots(columns: int, count: int) -> int:
    return blocks_of(columns, unit_columns(count)) * max(2, count)


def _nibbles(places: UInt8[np.ndarray, "blocks slots 16 4"]) -> UInt8[np.ndarray, "blocks records 64"]:
    blocks, slots = places.shape[:2]
    pairs = places.reshape(blocks, slots // 2, 2, SLOT_COLUMNS)
    return pairs[:, :, 0] | pairs[:, :, 1] << 4


def _bytes(values: np.ndarray, slots: int) -> UInt8[np.ndarray, "blocks records bytes"]:
    return values.view(np.uint8).reshape(len(values), slots // 2, 2 * SLOT_COLUMNS * values.itemsize)


def _stream(records: UInt8[np.ndarray, "blocks ..."]) -> UInt8[np.ndarray, "blocks bytes"]:
    return records.reshape(len(records), int(np.prod(records.shape[1:])))


def _parts(matrix: np.ndarray, count: int | None) -> tuple[np.ndarray, np.ndarray, int]:
    """Places and values of all entries, (blocks, slots, 16, 4) each, and n."""
    if matrix.ndim != 2:
        raise ArtifactError(f"a balanced matrix has rows and columns, not the shape {matrix.shape}")
    least = pattern(matrix)
    n = least if count is None else count
    if least is None or n is None or n not in COUNTS or least > n:
        raise ArtifactError(
            f"a group of {GROUP} columns holds more non-zeros than {count or COUNTS[-1]}: it is no n:16"
        )
    (rows, columns), slots = matrix.shape, _slots(matrix.shape[1], n)
    blocks = blocks_of(rows, ROWS)
    wide = np.zeros((blocks * ROWS, slots * 4 // n, GROUP), matrix.dtype)
    wide.reshape(blocks * ROWS, wide.shape[1] * GROUP)[:rows, :columns] = matrix
    kept = wide != 0
    number = np.cumsum(kept, axis=2, dtype=np.int8) - 1
    row, group, place = np.nonzero(kept)
    places, values = np.zeros((*wide.shape[:2], n), np.uint8), np.zeros((*wide.shape[:2], n), matrix.dtype)
    at = row, group, number[kept]
    places[at], values[at] = place, wide[kept]
    return _by_slot(places, slots), _by_slot(values, slots), n


def _by_slot(part: Shaped[np.ndarray, "rows groups n"], slots: int) -> Shaped[np.ndarray, "blocks slots 16 4"]:
    return np.ascontiguousarray(part.reshape(len(part) // ROWS, ROWS, slots, 4).transpose(0, 2, 1, 3))
