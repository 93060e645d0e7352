"""The codes of a quantized tensor in bytes: a closed table of ways, of which the smallest is kept.

A stream says its way and then what that needs. Where positions are stored apart, only codes that are not zero follow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from secateur.errors import ArtifactError
from secateur.ir.coding.alphabet import Alphabet, Places
from secateur.ir.coding.ascending_codes import decode_ascending_codes, encode_ascending_codes
from secateur.ir.coding.bits import pack_bits, unpack_bits
from secateur.ir.coding.closed_table import row_of, smallest
from secateur.ir.coding.neighbour_codes import decode_neighbour_codes, encode_neighbour_codes
from secateur.ir.coding.range_coder import DECISIONS_A_US, Decoder, Encoder, Models, affordable
from secateur.ir.coding.squeeze import squeeze, unsqueeze
from secateur.ir.coding.varint import Bytes, Reader

if TYPE_CHECKING:
    from jaxtyping import Int8

MOST_CODES = 200_000  # about a third of a second of plain Python
ROWS = "way to store codes"
BLOCK_CODES = 1 << 16  # packed together; a multiple of 8, so that only the last block has bits to spare


@dataclass(frozen=True)
class Way:
    """encode(codes, alphabet, where) -> bytes, or None where that does not apply; decode(bytes, count, alphabet, where)
    -> codes."""

    name: str
    encode: Callable[[np.ndarray, Alphabet, Places], bytes | None]
    decode: Callable[[Bytes, int, Alphabet, Places], np.ndarray]


def encode_codes(codes: Int8[np.ndarray, " count"], alphabet: Alphabet, where: Places) -> bytes:
    """The smallest stream for these codes."""
    if not codes.size:
        return b""
    streams = ((index, way.encode(codes, alphabet, where)) for index, way in enumerate(WAYS))
    return b"".join(smallest(streams))


def decode_codes(stream: Bytes, count: int, alphabet: Alphabet, where: Places) -> Int8[np.ndarray, " count"]:
    """The codes; ArtifactError where the bytes do not hold `count` codes of this alphabet."""
    if not count:
        Reader(stream).end()
        return np.empty(0, dtype=np.int8)
    way, reader = row_of(WAYS, stream, ROWS)
    return way.decode(reader.rest(), count, alphabet, where)


def way_of(stream: Bytes) -> str:
    """The name of the way a stream goes; "none" for the empty stream of no codes."""
    return row_of(WAYS, stream, ROWS)[0].name if len(stream) else "none"


def _encode_packed(codes: np.ndarray, alphabet: Alphabet, _where: Places) -> bytes:
    """Numbers of codes in as many bits as the alphabet needs, a block at a time."""
    blocks = (codes[start : start + BLOCK_CODES] for start in range(0, codes.size, BLOCK_CODES))
    return b"".join(pack_bits(alphabet.symbols(block), alphabet.symbol_bits) for block in blocks)


def _decode_packed(stream: Bytes, count: int, alphabet: Alphabet, _where: Places) -> np.ndarray:
    width, reader = alphabet.symbol_bits, Reader(stream)
    if reader.left != (count * width + 7) // 8:
        raise ArtifactError(f"damaged artifact: {reader.left} bytes for {count} codes of {width} bits")
    codes = np.empty(count, dtype=np.int8)
    for start in range(0, count, BLOCK_CODES):
        block = codes[start : start + BLOCK_CODES]
        block[:] = alphabet.codes(unpack_bits(reader.take((block.size * width + 7) // 8), width, block.size))
    return codes


def _encode_squeezed(codes: np.ndarray, alphabet: Alphabet, _where: Places) -> bytes:
    return squeeze(alphabet.symbols(codes).astype(np.uint8).tobytes())


def _decode_squeezed(stream: Bytes, count: int, alphabet: Alphabet, _where: Places) -> np.ndarray:
    return alphabet.codes(np.frombuffer(unsqueeze(stream, count), dtype=np.uint8))


def _encode_adaptive(codes: np.ndarray, alphabet: Alphabet, _where: Places) -> bytes | None:
    """Each code as a symbol of one adaptive tree."""
    bits = alphabet.symbol_bits
    if codes.size > MOST_CODES:
        return None
    encoder = Encoder()
    encoder.symbols(Models(1 << bits), bits, alphabet.symbols(codes).tolist())
    stream = encoder.finish()
    return stream if affordable(codes.size * bits // DECISIONS_A_US, len(stream)) else None


def _decode_adaptive(stream: Bytes, count: int, alphabet: Alphabet, _where: Places) -> np.ndarray:
    bits = alphabet.symbol_bits
    if count > MOST_CODES or not affordable(count * bits // DECISIONS_A_US, len(stream)):
        raise ArtifactError(f"damaged artifact: {len(stream)} bytes are too few for {count} adaptive codes")
    decoder = Decoder(stream)
    symbols = np.array(decoder.symbols(Models(1 << bits), bits, count), dtype=np.int64)
    decoder.finish()
    return alphabet.codes(symbols)


# The index of a row is what files hold: rows are appended, never moved.
WAYS = (
    Way("packed", _encode_packed, _decode_packed),
    Way("zstd", _encode_squeezed, _decode_squeezed),
    Way("adaptive", _encode_adaptive, _decode_adaptive),
    Way("neighbours", encode_neighbour_codes, decode_neighbour_codes),
    Way("ascending", encode_ascending_codes, decode_ascending_codes),
)
