"""Codes of a layer that reads images: filters are smooth, so a code is like those beside it and above.

A magnitude is a symbol of an adaptive tree, of which there is one for every size of the larger neighbour. The sign is
one decision, whether it is that of the neighbours, among which the left and the upper one count double against the two
on the diagonals. Tried on pruned LeNets at 3 and 4 bits and no better: means of the row, of the column or of both, the
number of non-zeros in them, more distant neighbours, both magnitudes apart.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from secateur.errors import ArtifactError
from secateur.ir.coding.alphabet import Alphabet, Places
from secateur.ir.coding.images import Image, best_image, matrix_shape
from secateur.ir.coding.range_coder import DECISIONS_A_US, Decoder, Encoder, Models, affordable
from secateur.ir.coding.varint import Bytes, Reader

MOST_CODES = 100_000  # a quarter of a second of plain Python
US_A_CODE = 2  # but for its decisions
LEVELS = 4  # magnitudes of a neighbour that is not zero, as far as they are told apart


def encode_neighbour_codes(codes: np.ndarray, alphabet: Alphabet, where: Places) -> bytes | None:
    """The stream, or None where there is no image, and for more codes than plain Python does quickly."""
    positions, shape = where
    if codes.size > MOST_CODES:
        return None
    image = best_image(np.flatnonzero(codes) if positions is None else positions, shape)
    if not image.side:
        return None
    bits, least, walk = alphabet.magnitude_bits, int(not alphabet.zero), _Walk(image, alphabet.largest)
    encoder, trees, signs = Encoder(), [Models(1 << bits) for _ in range(LEVELS + 1)], Models(2)
    for (row, column), code in zip(_places(where, codes.size), codes.tolist(), strict=True):
        level, sign = walk.at(row, column)
        encoder.symbols(trees[level], bits, (abs(code) - least,))
        if code:
            encoder.bit(signs, abs(sign), (code < 0) ^ (sign < 0))
            walk.codes[column] = code
    stream = image.to_bytes() + encoder.finish()
    return stream if affordable(_work_us(codes.size, bits), len(stream)) else None


def decode_neighbour_codes(stream: Bytes, count: int, alphabet: Alphabet, where: Places) -> np.ndarray:
    """The codes; ArtifactError on any stream that `encode_neighbour_codes` does not write."""
    bits, least = alphabet.magnitude_bits, int(not alphabet.zero)
    if count > MOST_CODES or not affordable(_work_us(count, bits), len(stream)):
        raise ArtifactError(f"damaged artifact: {len(stream)} bytes are too few for {count} codes beside one another")
    reader = Reader(stream)
    image = Image.read(reader, matrix_shape(where[1])[1])
    walk, decoder = _Walk(image, alphabet.largest), Decoder(reader.rest())
    trees, signs = [Models(1 << bits) for _ in range(LEVELS + 1)], Models(2)
    codes = []
    for row, column in _places(where, count):
        level, sign = walk.at(row, column)
        code = decoder.symbols(trees[level], bits, 1)[0] + least
        if code > alphabet.largest:
            raise ArtifactError(f"damaged artifact: a code of {alphabet.bits} bits leaves its grid")
        if code:
            code = -code if decoder.bit(signs, abs(sign)) ^ (sign < 0) else code
            walk.codes[column] = code
        codes.append(code)
    decoder.finish()
    return np.array(codes, dtype=np.int8)


class _Walk:
    """The codes of a row that were met, by column."""

    __slots__ = ("codes", "image", "largest", "row")

    def __init__(self, image: Image, largest: int) -> None:
        self.image, self.largest = image, largest
        self.codes: dict[int, int] = {}
        self.row = -1

    def at(self, row: int, column: int) -> tuple[int, int]:
        """How large the larger neighbour is, from 0 to LEVELS, and the sign of all, 0 for neither."""
        if row != self.row:
            self.row, self.codes = row, {}
        side, get = self.image.side, self.codes.get
        if not side:
            return 0, 0
        inside = column % self.image.block
        place = inside % side
        left = get(column - 1, 0) if place else 0
        if inside < side:
            above = corners = 0
        else:
            above, before, behind = get(column - side, 0), get(column - side - 1, 0), get(column - side + 1, 0)
            before, behind = before if place else 0, behind if place + 1 < side else 0
            corners = (before > 0) - (before < 0) + (behind > 0) - (behind < 0)
        balance = 2 * ((left > 0) - (left < 0) + (above > 0) - (above < 0)) + corners
        level = -(-LEVELS * max(abs(left), abs(above)) // self.largest)
        return level, (balance > 0) - (balance < 0)


def _places(where: Places, count: int) -> Iterable[tuple[int, int]]:
    positions, shape = where
    rows, columns = np.divmod(np.arange(count) if positions is None else positions, max(1, matrix_shape(shape)[1]))
    return zip(rows.tolist(), columns.tolist(), strict=True)


def _work_us(count: int, bits: int) -> int:
    return count * US_A_CODE + count * (bits + 1) // DECISIONS_A_US
