"""The values of a tensor in bytes: a closed table of codes, of which the smallest that takes the dtype is kept.

A stream says its code and then what the code needs; how many values there are is known from the tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from secateur.errors import ArtifactError
from secateur.ir.coding.ascending import decode_ascending, encode_ascending
from secateur.ir.coding.closed_table import row_of, smallest
from secateur.ir.coding.floats import decode_floats, encode_floats
from secateur.ir.coding.leading import decode_leading, encode_leading
from secateur.ir.coding.signs import Where, decode_signs, encode_signs
from secateur.ir.coding.squeeze import squeeze, unsqueeze
from secateur.ir.coding.varint import Bytes, Reader, varint

if TYPE_CHECKING:
    from jaxtyping import Shaped

ROWS = "value code"
BLOCK_VALUES = 1 << 20  # values whose bytes are put into planes together; bounds what decoding needs beside its result


@dataclass(frozen=True)
class ValueCode:
    """encode(values) -> bytes, or None where the code does not apply; decode(bytes, dtype, count) -> values.

    placed  both also take, as their last argument, where the values lie; so the code is for Sparse alone
    """

    name: str
    encode: Callable[..., bytes | None]
    decode: Callable[..., np.ndarray]
    placed: bool = False


def encode_values(values: Shaped[np.ndarray, " count"], where: Where | None = None) -> bytes:
    """The smallest stream for these values: float32, float16, int64 or bool; those of a Sparse lie somewhere."""
    if not values.size:
        return b""
    codes = [(index, code) for index, code in enumerate(VALUE_CODES) if where or not code.placed]
    streams = ((index, code.encode(values, where) if code.placed else code.encode(values)) for index, code in codes)
    return b"".join(smallest(streams))


def decode_values(stream: Bytes, dtype: str, count: int, where: Where | None = None) -> Shaped[np.ndarray, " count"]:
    """The values bit for bit; ArtifactError where the bytes do not hold `count` values of this dtype."""
    if not count:
        Reader(stream).end()
        return np.empty(0, dtype=dtype)
    code, reader = row_of(VALUE_CODES, stream, ROWS)
    if not code.placed:
        return code.decode(reader.rest(), dtype, count)
    if where is None:
        raise ArtifactError(f"damaged artifact: the values of a dense tensor are not coded as {code.name}")
    return code.decode(reader.rest(), dtype, count, where)


def value_code(stream: Bytes) -> str:
    """The name of the code a stream is in; "none" for the empty stream of no values."""
    return row_of(VALUE_CODES, stream, ROWS)[0].name if len(stream) else "none"


def _encode_planes(values: np.ndarray) -> bytes | None:
    """Blocks of values, each as its planes of bytes (all lowest bytes, all second bytes, ...), each through zstd."""
    if values.dtype == np.bool_:
        return None
    out = []
    for start in range(0, values.size, BLOCK_VALUES):
        block = values[start : start + BLOCK_VALUES]
        for plane in block.view(np.uint8).reshape(block.size, values.itemsize).T:
            frame = squeeze(plane.tobytes())
            out += [varint(len(frame)), frame]
    return b"".join(out)


def _decode_planes(stream: Bytes, dtype: str, count: int) -> np.ndarray:
    reader, size = Reader(stream), np.dtype(dtype).itemsize
    if dtype == "bool":
        raise ArtifactError("damaged artifact: bool values are coded as bits only")
    if reader.left < -(-count // BLOCK_VALUES) * size:
        raise ArtifactError(f"damaged artifact: {reader.left} bytes cannot hold {count} values")
    values = np.empty((count, size), dtype=np.uint8)
    for start in range(0, count, BLOCK_VALUES):
        block = values[start : start + BLOCK_VALUES]
        for place in range(size):
            block[:, place] = np.frombuffer(unsqueeze(reader.take(reader.varint()), len(block)), dtype=np.uint8)
    reader.end()
    return values.reshape(-1).view(dtype)


def _encode_steps(values: np.ndarray) -> bytes | None:
    """Integers as planes of their differences, modulo 2**64: an index table is one number over and over."""
    return _encode_planes(np.diff(values, prepend=np.int64(0))) if values.dtype == np.int64 else None


def _decode_steps(stream: Bytes, dtype: str, count: int) -> np.ndarray:
    if dtype != "int64":
        raise ArtifactError(f"damaged artifact: {dtype} values are not coded as steps")
    return np.cumsum(_decode_planes(stream, dtype, count), dtype=np.int64)


def _encode_bits(values: np.ndarray) -> bytes | None:
    return squeeze(np.packbits(values).tobytes()) if values.dtype == np.bool_ else None


def _decode_bits(stream: Bytes, dtype: str, count: int) -> np.ndarray:
    if dtype != "bool":
        raise ArtifactError(f"damaged artifact: {dtype} values are not coded as bits")
    packed = np.frombuffer(unsqueeze(stream, (count + 7) // 8), dtype=np.uint8)
    return np.unpackbits(packed, count=count).view(np.bool_)


# The index of a row is what files hold: rows are appended, never moved.
VALUE_CODES = (
    ValueCode("floats", encode_floats, decode_floats),
    ValueCode("planes", _encode_planes, _decode_planes),
    ValueCode("steps", _encode_steps, _decode_steps),
    ValueCode("bits", _encode_bits, _decode_bits),
    ValueCode("ascending", encode_ascending, decode_ascending),
    ValueCode("signs", encode_signs, decode_signs, placed=True),
    ValueCode("leading", encode_leading, decode_leading, placed=True),
)
