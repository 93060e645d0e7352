"""Floating-point values in ascending order, as in biases of sorted units: coded by their differences.

The bits of a float, read as an integer and turned round for negative numbers, are in the order of the values. The
differences of these integers are sent as their length in bits, by an adaptive tree, the bit below the highest by one
model a length, and the rest as it is: the gamma code of P. Elias, "Universal codeword sets and representations of the
integers", IEEE Trans. Inf. Theory 21 (1975), with probabilities learned.
"""

from __future__ import annotations

from itertools import accumulate

import numpy as np

from secateur.errors import ArtifactError
from secateur.ir.coding.range_coder import DECISIONS_A_US, Decoder, Encoder, Models, affordable
from secateur.ir.coding.varint import Bytes

MOST_VALUES = 50_000
UNSIGNED = {2: np.uint16, 4: np.uint32}
PIECE_BITS = 16  # an interval holds no more at once


def encode_ascending(values: np.ndarray) -> bytes | None:
    """The stream, or None for values that do not ascend, other dtypes, and more than plain Python does quickly."""
    if values.dtype.kind != "f" or not 1 < values.size <= MOST_VALUES:
        return None
    steps = np.diff(_keys(values), prepend=0)
    if steps.min() < 0:
        return None
    bits = _length_bits(values.dtype)
    encoder, lengths, seconds = Encoder(), Models(1 << bits), Models(1 << bits)
    for step in steps.tolist():
        length = step.bit_length()
        encoder.symbols(lengths, bits, (length,))
        if length > 1:
            encoder.bit(seconds, length, step >> (length - 2) & 1)
        for low in range(0, length - 2, PIECE_BITS):
            width = min(PIECE_BITS, length - 2 - low)
            encoder.interval(step >> low & ((1 << width) - 1), 1, 1 << width)
    stream = encoder.finish()
    return stream if affordable(_work_us(values.size, bits), len(stream)) else None


def decode_ascending(stream: Bytes, dtype: str, count: int) -> np.ndarray:
    """The `count` values; ArtifactError on any stream that `encode_ascending` does not write."""
    kind = np.dtype(dtype)
    if kind.kind != "f" or not 1 < count <= MOST_VALUES:
        raise ArtifactError(f"damaged artifact: {count} values of {dtype} are not coded as ascending floats")
    bits = _length_bits(kind)
    if not affordable(_work_us(count, bits), len(stream)):
        raise ArtifactError(f"damaged artifact: {len(stream)} bytes are too few for {count} ascending values")
    decoder, lengths, seconds = Decoder(stream), Models(1 << bits), Models(1 << bits)
    steps, last = [], 8 * kind.itemsize
    for _ in range(count):
        (length,) = decoder.symbols(lengths, bits, 1)
        if length > last:
            raise ArtifactError("damaged artifact: values of a tensor do not fit their dtype")
        step = length and 1
        if length > 1:
            step = 2 | decoder.bit(seconds, length)
            rest = 0
            for low in range(0, length - 2, PIECE_BITS):
                rest |= decoder.uniform(1 << min(PIECE_BITS, length - 2 - low)) << low
            step = step << (length - 2) | rest
        steps.append(step)
    decoder.finish()
    keys = list(accumulate(steps))
    if keys[-1] >= 1 << last:
        raise ArtifactError("damaged artifact: values of a tensor do not fit their dtype")
    return _values(np.array(keys, dtype=np.int64), kind)


def _work_us(count: int, bits: int) -> int:
    return count * (bits + 8) // DECISIONS_A_US


def _length_bits(dtype: np.dtype) -> int:
    """Bits of a length, which is 0 to 16 or 0 to 32."""
    return (8 * dtype.itemsize).bit_length()


def _keys(values: np.ndarray) -> np.ndarray:
    """Integers in the order of the values, -0.0 below 0.0."""
    raw, sign = values.view(UNSIGNED[values.itemsize]).astype(np.int64), 1 << (8 * values.itemsize - 1)
    return np.where(raw < sign, raw + sign, 2 * sign - 1 - raw)


def _values(keys: np.ndarray, dtype: np.dtype) -> np.ndarray:
    sign = 1 << (8 * dtype.itemsize - 1)
    return np.where(keys < sign, 2 * sign - 1 - keys, keys - sign).astype(UNSIGNED[dtype.itemsize]).view(dtype)
