"""One tensor as a record of bytes: its form and dtype, where its non-zeros are, its scales, and its values or codes."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import numpy as np

from secateur.ir.coding.alphabet import Alphabet
from secateur.ir.coding.closed_table import row_of
from secateur.ir.coding.codes import decode_codes, encode_codes, way_of
from secateur.ir.coding.positions import announced_nonzeros, decode_positions, encode_positions, position_code
from secateur.ir.coding.scales import SCALE_BYTES, decode_scales, encode_scales, is_plain
from secateur.ir.coding.values import decode_values, encode_values, value_code
from secateur.ir.coding.varint import Bytes, varint
from secateur.ir.formats import CODE_DTYPES, Dense, Quantized, Sparse, Stored

POSITION_BYTES = 8


class Form(NamedTuple):
    """What a record holds.

    positions  only non-zeros are stored, behind where they lie
    scales     a Quantized has other scales than one float16 number
    """

    kind: type
    dtype: str
    positions: bool
    scales: bool = False


# The index of a row is what files hold: rows are appended, never moved.
FORMS = (
    Form(Sparse, "float16", positions=True),
    Form(Sparse, "float32", positions=True),
    Form(Dense, "float16", positions=False),
    Form(Dense, "float32", positions=False),
    Form(Dense, "int64", positions=False),
    Form(Dense, "bool", positions=False),
    *(
        Form(Quantized, dtype, positions, scales)
        for positions in (True, False)
        for scales in (False, True)
        for dtype in CODE_DTYPES
    ),
)


@dataclass(frozen=True)
class TensorBytes:
    """Bytes of one tensor in the file: positions of non-zeros, values or codes, the scales of codes, lengths before
    them; and the codes chosen.

    positions_code  "dense" where every element is stored;  values_code  "none" where there is no value
    """

    positions: int
    values: int
    framing: int
    positions_code: str
    values_code: str
    scales: int = 0

    @property
    def total(self) -> int:
        return self.positions + self.values + self.scales + self.framing


@dataclass(frozen=True)
class Streams:
    """The streams of a tensor: positions unless every element is stored, scales of a Quantized alone."""

    form: int
    positions: Bytes
    values: Bytes
    scales: Bytes = b""

    def record(self) -> bytes:
        """form, length of the positions, length of the scales (where they are there), positions, scales, values."""
        return b"".join([self._head(), self.positions, self.scales, self.values])

    def sizes(self) -> TensorBytes:
        """What the tensor takes in the file."""
        length = len(self._head()) + len(self.positions) + len(self.scales) + len(self.values)
        framing = len(varint(length)) + len(self._head())
        positions = position_code(self.positions) if self.positions else "dense"
        values = (way_of if FORMS[self.form].kind is Quantized else value_code)(self.values)
        return TensorBytes(len(self.positions), len(self.values), framing, positions, values, len(self.scales))

    def _head(self) -> bytes:
        form, head = FORMS[self.form], bytes([self.form])
        head += varint(len(self.positions)) if form.positions else b""
        return head + (varint(len(self.scales)) if form.scales else b"")


def record_bytes(record: Bytes) -> int:
    """Bytes of a record and of its length in front of it."""
    return len(varint(len(record))) + len(record)


def encode_tensor(tensor: Stored) -> Streams:
    """The smallest streams for a tensor."""
    if isinstance(tensor, Quantized):
        return min(quantized_streams(tensor), key=lambda streams: streams.sizes().total)
    form = FORMS.index(Form(type(tensor), tensor.dtype, isinstance(tensor, Sparse)))
    if isinstance(tensor, Dense):
        return Streams(form, b"", encode_values(np.ascontiguousarray(tensor.array).reshape(-1)))
    return Streams(
        form,
        encode_positions(tensor.positions, tensor.shape),
        encode_values(tensor.values, (tensor.positions, tensor.shape)),
    )


def quantized_streams(tensor: Quantized) -> list[Streams]:
    """What a file may hold for a tensor: all codes, zeros among them; and positions with those that are not zero, where
    there are zeros."""
    grid, flat = tensor.grid, np.ascontiguousarray(tensor.codes).reshape(-1)
    scales = encode_scales(grid)
    form = Form(Quantized, tensor.dtype, positions=False, scales=not is_plain(grid))
    codes = encode_codes(flat, Alphabet(grid.bits, zero=True), (None, tensor.shape))
    found = [Streams(FORMS.index(form), b"", codes, scales)]
    places = np.flatnonzero(flat)
    if places.size < flat.size:
        form = form._replace(positions=True)
        codes = encode_codes(flat[places], Alphabet(grid.bits, zero=False), (places, tensor.shape))
        found.append(Streams(FORMS.index(form), encode_positions(places, tensor.shape), codes, scales))
    return found


def split_record(record: Bytes) -> Streams:
    """The streams in a record, as views; ArtifactError where it is cut off or of an unknown form."""
    form, reader = row_of(FORMS, record, "tensor form")
    lengths = reader.varint() if form.positions else 0, reader.varint() if form.scales else 0
    positions = reader.take(lengths[0])
    scales = reader.take(lengths[1] if form.scales else SCALE_BYTES if form.kind is Quantized else 0)
    return Streams(FORMS.index(form), positions, reader.rest(), scales)


def held_bytes(streams: Streams, shape: tuple[int, ...]) -> int:
    """Bytes the decoded tensor will take, as the streams announce it; ArtifactError where they announce nothing."""
    form = FORMS[streams.form]
    placed = announced_nonzeros(streams.positions) if form.positions else 0
    if form.kind is Quantized:
        return prod(shape) + (1 + POSITION_BYTES) * placed
    item = np.dtype(form.dtype).itemsize
    return item * prod(shape) if form.kind is Dense else (item + POSITION_BYTES) * placed


def decode_tensor(streams: Streams, shape: tuple[int, ...]) -> Stored:
    """The tensor, bit for bit. ArtifactError on any streams that `encode_tensor` does not write for this shape."""
    form = FORMS[streams.form]
    if form.kind is Quantized:
        return _decode_quantized(form, streams, shape)
    if form.kind is Dense:
        return Dense(decode_values(streams.values, form.dtype, prod(shape)).reshape(shape))
    positions = decode_positions(streams.positions, shape)
    return Sparse(shape, positions, decode_values(streams.values, form.dtype, positions.size, (positions, shape)))


def _decode_quantized(form: Form, streams: Streams, shape: tuple[int, ...]) -> Quantized:
    bits = int(form.dtype.removeprefix("int"))
    grid = decode_scales(streams.scales, bits, shape, plain=not form.scales)
    alphabet = Alphabet(bits, zero=not form.positions)
    if not form.positions:
        return Quantized(decode_codes(streams.values, prod(shape), alphabet, (None, shape)).reshape(shape), grid)
    positions = decode_positions(streams.positions, shape)
    codes = np.zeros(prod(shape), dtype=np.int8)
    codes[positions] = decode_codes(streams.values, positions.size, alphabet, (positions, shape))
    return Quantized(codes.reshape(shape), grid)
