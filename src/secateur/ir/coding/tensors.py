"""One tensor as a record of bytes: its form and dtype, where its non-zeros are, and its values."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from secateur.errors import ArtifactError
from secateur.ir.coding.positions import decode_positions, encode_positions, position_code
from secateur.ir.coding.values import decode_values, encode_values, value_code
from secateur.ir.coding.varint import Bytes, Reader, varint
from secateur.ir.formats import Dense, Sparse

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
class Streams:
    """The two streams of a tensor; a Dense has no positions."""

    form: int
    positions: bytes
    values: bytes

    def codes(self) -> tuple[str, str]:
        """Names of the codes that positions and values are in."""
        return position_code(self.positions) if self.positions else "dense", value_code(self.values)

    def record(self) -> bytes:
        """form, length of the positions (Sparse only), positions, values."""
        length = varint(len(self.positions)) if FORMS[self.form][0] is Sparse else b""
        return bytes([self.form]) + length + self.positions + self.values


def encode_tensor(tensor: Dense | Sparse) -> Streams:
    """The smallest streams for a tensor."""
    form = FORMS.index((type(tensor), tensor.dtype))
    if isinstance(tensor, Dense):
        return Streams(form, b"", encode_values(np.ascontiguousarray(tensor.array).reshape(-1)))
    return Streams(form, encode_positions(tensor.positions, tensor.shape), encode_values(tensor.values))


def decode_tensor(record: Bytes, shape: tuple[int, ...]) -> Dense | Sparse:
    """The tensor, bit for bit. ArtifactError on any record that `encode_tensor` does not write for this shape."""
    reader = Reader(record)
    index = reader.take(1)[0]
    if index >= len(FORMS):
        raise ArtifactError(f"damaged artifact: there is no tensor form {index}")
    form, dtype = FORMS[index]
    if form is Dense:
        return Dense(decode_values(reader.rest(), dtype, prod(shape)).reshape(shape))
    positions = decode_positions(reader.take(reader.varint()), shape)
    return Sparse(shape, positions, decode_values(reader.rest(), dtype, positions.size))
