"""Floating-point values coded by what of them can be predicted.

Sign apart, the bits of a float grow with its magnitude; in a trained tensor the exponent and one or two bits of the
mantissa are far from even (values just above a threshold, few large ones), the rest is noise. So: the top bits of the
magnitude, less their minimum, are symbols of an adaptive bit tree, and the bits below are sent as they are. Zeros that
end every value (constants, powers of two, float16 inside float32) are dropped.
"""

from __future__ import annotations

from math import lgamma, log, log2, pi

import numpy as np

from secateur.errors import ArtifactError
from secateur.ir.coding.bits import pack_bits, unpack_bits
from secateur.ir.coding.range_coder import DECISIONS_A_US, Decoder, Encoder, Models, affordable
from secateur.ir.coding.varint import Bytes, Reader, varint

MOST_VALUES = 200_000  # about half a second of plain Python; beyond, planes of bytes
TREE_BITS = 10  # the largest tree: 1,024 models
UNSIGNED = {2: np.uint16, 4: np.uint32}
SIGN_MODELLED = 1 << 5


def encode_floats(values: np.ndarray) -> bytes | None:
    """The stream, or None for other dtypes and for more values than plain Python does quickly."""
    if values.dtype.kind != "f" or not 0 < values.size <= MOST_VALUES:
        return None
    bits = 8 * values.itemsize
    raw = values.view(UNSIGNED[values.itemsize]).astype(np.int64)
    signs, magnitudes = raw >> (bits - 1), raw & ((1 << (bits - 1)) - 1)
    drop = _trailing_zeros(int(np.bitwise_or.reduce(magnitudes)), bits - 1)
    magnitudes >>= drop
    low = _cheapest_split(magnitudes, bits - 1 - drop)
    tops = magnitudes >> low
    base = int(tops.min())
    tree = int(tops.max() - base).bit_length()
    modelled = _kt_bits(np.bincount(signs, minlength=2)) < values.size
    encoder = Encoder()
    encoder.symbols(Models(1 << tree), tree, (tops - base).tolist())
    if modelled:
        encoder.symbols(Models(2), 1, signs.tolist())
    rest = magnitudes & ((1 << low) - 1)
    noise = pack_bits(rest, low) if modelled else pack_bits(signs << low | rest, low + 1)
    head = bytes([low | SIGN_MODELLED * modelled, drop, tree]) + varint(base)
    stream = head + noise + encoder.finish()
    return stream if affordable(values.size * (tree + modelled) // DECISIONS_A_US, len(stream)) else None


def decode_floats(stream: Bytes, dtype: str, count: int) -> np.ndarray:
    """The `count` values; ArtifactError on any stream that `encode_floats` does not write."""
    if np.dtype(dtype).kind != "f" or not 0 < count <= MOST_VALUES:
        raise ArtifactError(f"damaged artifact: {count} values of {dtype} are not coded as modelled floats")
    bits = 8 * np.dtype(dtype).itemsize
    reader = Reader(stream)
    flags, drop, tree = reader.take(3)
    low, modelled, base = flags & (SIGN_MODELLED - 1), bool(flags & SIGN_MODELLED), reader.varint()
    if tree > TREE_BITS or low + drop >= bits or (base + (1 << tree) - 1) << low + drop >= 1 << bits:
        raise ArtifactError("damaged artifact: values of a tensor do not fit their dtype")
    width = low if modelled else low + 1
    if not affordable(count * (tree + modelled) // DECISIONS_A_US, len(stream)):
        raise ArtifactError(f"damaged artifact: {len(stream)} bytes are too few for {count} modelled values")
    noise = unpack_bits(reader.take((count * width + 7) // 8), width, count)
    decoder = Decoder(reader.rest())
    tops = np.array(decoder.symbols(Models(1 << tree), tree, count), dtype=np.int64) + base
    signs = np.array(decoder.symbols(Models(2), 1, count)) if modelled else noise >> low
    decoder.finish()
    magnitudes = (tops << low | noise & ((1 << low) - 1)) << drop
    if int(magnitudes.max()) >> (bits - 1):
        raise ArtifactError("damaged artifact: values of a tensor do not fit their dtype")
    return (signs << (bits - 1) | magnitudes).astype(UNSIGNED[bits // 8]).view(dtype)


def _trailing_zeros(union: int, bits: int) -> int:
    return (union & -union).bit_length() - 1 if union else bits


def _cheapest_split(magnitudes: np.ndarray, bits: int) -> int:
    """How many low bits to send as they are: the number that makes stream and tree smallest together."""
    best, cheapest = bits, float("inf")
    for low in range(bits + 1):
        tops = magnitudes >> low
        tops -= tops.min()
        tree = int(tops.max()).bit_length()
        if tree > TREE_BITS:
            continue
        cost, counts = float(low * magnitudes.size), np.bincount(tops, minlength=1 << tree)
        for _ in range(tree):
            cost += _kt_bits(counts.reshape(-1, 2))
            counts = counts.reshape(-1, 2).sum(1)
        if cost < cheapest:
            best, cheapest = low, cost
    return best


def _kt_bits(pairs: np.ndarray) -> float:
    """Bits that adaptive models take for events with these counts of zeros and ones."""
    return sum(
        (lgamma(zeros + ones + 1) - lgamma(zeros + 0.5) - lgamma(ones + 0.5)) / log(2) + log2(pi)
        for zeros, ones in pairs.reshape(-1, 2).tolist()
        if zeros or ones
    )
