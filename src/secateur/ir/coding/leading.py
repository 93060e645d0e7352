"""Floating-point values of which the first in every row is a power of two, as in units that were rescaled to be so.

These first values are one stream, whose mantissas cost nothing; all others are a second one.
"""

from __future__ import annotations

import numpy as np

from secateur.errors import ArtifactError
from secateur.ir.coding.floats import decode_floats, encode_floats
from secateur.ir.coding.images import matrix_shape
from secateur.ir.coding.signs import Where, decode_signs, encode_signs
from secateur.ir.coding.varint import Bytes, Reader, varint

PLAIN, SIGNS = 0, 1  # how the second stream is coded


def encode_leading(values: np.ndarray, where: Where) -> bytes | None:
    """The stream, or None where first values are no powers of two or there are too many values."""
    if values.dtype.kind != "f":
        return None
    positions, shape = where
    first = _first(positions, shape)
    if not (np.abs(np.frexp(values[first])[0]) == 0.5).all():
        return None
    leading, rest = encode_floats(values[first]), values[~first]
    others = [encode_floats(rest), encode_signs(rest, (positions[~first], shape))] if rest.size else [b"", None]
    coded = [bytes([index]) + stream for index, stream in enumerate(others) if stream is not None]
    if leading is None or not coded:
        return None
    return varint(len(leading)) + leading + min(coded, key=len)


def decode_leading(stream: Bytes, dtype: str, count: int, where: Where) -> np.ndarray:
    """The `count` values; ArtifactError on any stream that `encode_leading` does not write."""
    positions, shape = where
    if np.dtype(dtype).kind != "f" or not count:
        raise ArtifactError(f"damaged artifact: {count} values of {dtype} are not coded by their rows")
    first, reader = _first(positions, shape), Reader(stream)
    values = np.empty(count, dtype=dtype)
    values[first] = decode_floats(reader.take(reader.varint()), dtype, int(first.sum()))
    kind, left = reader.take(1)[0], count - int(first.sum())
    if kind not in (PLAIN, SIGNS):
        raise ArtifactError(f"damaged artifact: values after the first of their row are not coded as {kind}")
    if not left:
        reader.end()
    elif kind == SIGNS:
        values[~first] = decode_signs(reader.rest(), dtype, left, (positions[~first], shape))
    else:
        values[~first] = decode_floats(reader.rest(), dtype, left)
    return values


def _first(positions: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Whether each value is the first of its row."""
    return np.diff(positions // max(1, matrix_shape(shape)[1]), prepend=-1) > 0
