"""Numbers of a fixed number of bits, one after another without gaps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from secateur.ir.coding.varint import Bytes

if TYPE_CHECKING:
    from jaxtyping import Int, Int64


def pack_bits(numbers: Int[np.ndarray, " count"], width: int) -> bytes:
    """The low `width` bits of each number, highest first; the last byte is filled up with zeros."""
    shifts = np.arange(width - 1, -1, -1)
    return np.packbits((numbers[:, None] >> shifts & 1).astype(np.uint8)).tobytes()


def unpack_bits(data: Bytes, width: int, count: int) -> Int64[np.ndarray, " count"]:
    """The `count` numbers in these (count * width + 7) // 8 bytes."""
    bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8), count=count * width).reshape(count, width)
    numbers = np.zeros(count, dtype=np.int64)
    for place in range(width):
        numbers = numbers << 1 | bits[:, place]
    return numbers
