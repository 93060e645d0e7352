"""One tensor as a record of bytes: its form and dtype, where its non-zeros are, and its values."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from secateur.errors import ArtifactError
from secateur.ir.coding.positions import announced_nonzeros, decode_positions, encode_positions, position_code
from secateur.ir.coding.values import decode_values, encode_values, value_code
from secateur.ir.coding.varint import Bytes, Reader, varint
from secateur.ir.formats import Dense, Sparse

POSITION_BYTES = 8
# The index of a row is what files hold: rows are appended, never moved.
FORMS = (
    (Sparse, "float16"),
    (Sparse, "float32"),
    (Dense, "float16"),
    (Dense, "float32"),
    (Dense, "int64"),
    (Dense, "bool"),
)


@dataclass(frozen=True)
class TensorBytes:
    """Bytes of one tensor in the file: positions of non-zeros, values, lengths before them; and the codes chosen.

    positions_code  "dense" where every element is stored;  values_code  "none" where there is no value
    """

    positions: int
    values: int
    framing: int
    positions_code: str
    values_code: str

    @property
    def total(self) -> int:
        return self.positions + self.values + self.framing


@dataclass(frozen=True)
class Streams:
    """The two streams of a tensor; a Dense has no positions."""

    form: int
    positions: Bytes
    values: Bytes

    def record(self) -> bytes:
        """form, length of the positions (Sparse only), positions, values."""
        return b"".join([self._head(), self.positions, self.values])

    def sizes(self) -> TensorBytes:
        """What the tensor takes in the file."""
        length = len(self._head()) + len(self.positions) + len(self.values)
        framing = len(varint(length)) + len(self._head())
        positions = position_code(self.positions) if self.positions else "dense"
        return TensorBytes(len(self.positions), len(self.values), framing, positions, value_code(self.values))

    def _head(self) -> bytes:
        return bytes([self.form]) + (varint(len(self.positions)) if FORMS[self.form][0] is Sparse else b"")


def record_bytes(record: Bytes) -> int:
    """Bytes of a record and of its length in front of it."""
    return len(varint(len(record))) + len(record)


def encode_tensor(tensor: Dense | Sparse) -> Streams:
    """The smallest streams for a tensor."""
    form = FORMS.index((type(tensor), tensor.dtype))
    if isinstance(tensor, Dense):
        return Streams(form, b"", encode_values(np.ascontiguousarray(tensor.array).reshape(-1)))
    return Streams(
        form,
        encode_positions(tensor.positions, tensor.shape),
        encode_values(tensor.values, (tensor.positions, tensor.shape)),
    )


def split_record(record: Bytes) -> Streams:
    """The streams in a record, as views; ArtifactError where it is cut off or of an unknown form."""
    reader = Reader(record)
    form = reader.take(1)[0]
    if form >= len(FORMS):
        raise ArtifactError(f"damaged artifact: there is no tensor form {form}")
    positions = reader.take(reader.varint()) if FORMS[form][0] is Sparse else b""
    return Streams(form, positions, reader.rest())


def held_bytes(streams: Streams, shape: tuple[int, ...]) -> int:
    """Bytes the decoded tensor will take, as the streams announce it; ArtifactError where they announce nothing."""
    form, dtype = FORMS[streams.form]
    item = np.dtype(dtype).itemsize
    return item * prod(shape) if form is Dense else (item + POSITION_BYTES) * announced_nonzeros(streams.positions)


def decode_tensor(streams: Streams, shape: tuple[int, ...]) -> Dense | Sparse:
    """The tensor, bit for bit. ArtifactError on any streams that `encode_tensor` does not write for this shape."""
    form, dtype = FORMS[streams.form]
    if form is Dense:
        return Dense(decode_values(streams.values, dtype, prod(shape)).reshape(shape))
    positions = decode_positions(streams.positions, shape)
    return Sparse(shape, positions, decode_values(streams.values, dtype, positions.size, (positions, shape)))
