"""The codes of a quantized tensor in bytes: a closed table of ways, of which the smallest is kept.

A stream says its way and then what that needs. Where positions are stored apart, only codes that are not zero follow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int8

from secateur.errors import ArtifactError
from secateur.ir.coding.bits import pack_bits, unpack_bits
from secateur.ir.coding.range_coder import DECISIONS_A_US, Decoder, Encoder, Models, affordable
from secateur.ir.coding.squeeze import squeeze, unsqueeze
from secateur.ir.coding.varint import Bytes, Reader

MOST_CODES = 200_000  # about a third of a second of plain Python


@dataclass(frozen=True)
class Alphabet:
    """The codes that may occur: integers from -largest to largest, with zero or without."""

    bits: int
    zero: bool

    @property
    def largest(self) -> int:
        return (1 << (self.bits - 1)) - 1

    @property
    def size(self) -> int:
        return 2 * self.largest + self.zero

    def symbols(self, codes: Int8[np.ndarray, " count"]) -> np.ndarray:
        """Codes as numbers from 0 to size - 1, in their order."""
        return codes.astype(np.int64) + self.largest - (0 if self.zero else codes > 0)

    def codes(self, symbols: np.ndarray) -> Int8[np.ndarray, " count"]:
        """Codes from their numbers; ArtifactError where one is too large."""
        if symbols.size and int(symbols.max()) >= self.size:
            raise ArtifactError(f"damaged artifact: a code of {self.bits} bits leaves its grid")
        codes = symbols.astype(np.int64) - self.largest
        return (codes if self.zero else codes + (codes >= 0)).astype(np.int8)


@dataclass(frozen=True)
class Way:
    """encode(codes, alphabet) -> bytes, or None where that does not apply; decode(bytes, count, alphabet) -> codes."""

    name: str
    encode: Callable[[np.ndarray, Alphabet], bytes | None]
    decode: Callable[[Bytes, int, Alphabet], np.ndarray]


def encode_codes(codes: Int8[np.ndarray, " count"], alphabet: Alphabet) -> bytes:
    """The smallest stream for these codes."""
    if not codes.size:
        return b""
    streams = [(index, way.encode(codes, alphabet)) for index, way in enumerate(WAYS)]
    index, stream = min(((i, s) for i, s in streams if s is not None), key=lambda choice: len(choice[1]))
    return bytes([index]) + stream


def decode_codes(stream: Bytes, count: int, alphabet: Alphabet) -> Int8[np.ndarray, " count"]:
    """The codes; ArtifactError where the bytes do not hold `count` codes of this alphabet."""
    if not count:
        Reader(stream).end()
        return np.empty(0, dtype=np.int8)
    way, reader = _way(stream)
    return way.decode(reader.rest(), count, alphabet)


def way_of(stream: Bytes) -> str:
    """The name of the way a stream goes; "none" for the empty stream of no codes."""
    return _way(stream)[0].name if len(stream) else "none"


def _way(stream: Bytes) -> tuple[Way, Reader]:
    reader = Reader(stream)
    index = reader.take(1)[0]
    if index >= len(WAYS):
        raise ArtifactError(f"damaged artifact: there is no way {index} to store codes")
    return WAYS[index], reader


def _encode_packed(codes: np.ndarray, alphabet: Alphabet) -> bytes:
    return pack_bits(alphabet.symbols(codes), (alphabet.size - 1).bit_length())


def _decode_packed(stream: Bytes, count: int, alphabet: Alphabet) -> np.ndarray:
    width, reader = (alphabet.size - 1).bit_length(), Reader(stream)
    symbols = unpack_bits(reader.take((count * width + 7) // 8), width, count)
    reader.end()
    return alphabet.codes(symbols)


def _encode_squeezed(codes: np.ndarray, alphabet: Alphabet) -> bytes:
    return squeeze(alphabet.symbols(codes).astype(np.uint8).tobytes())


def _decode_squeezed(stream: Bytes, count: int, alphabet: Alphabet) -> np.ndarray:
    return alphabet.codes(np.frombuffer(unsqueeze(stream, count), dtype=np.uint8))


def _encode_adaptive(codes: np.ndarray, alphabet: Alphabet) -> bytes | None:
    """Each code as a symbol of one adaptive tree."""
    bits = (alphabet.size - 1).bit_length()
    if codes.size > MOST_CODES:
        return None
    encoder = Encoder()
    encoder.symbols(Models(1 << bits), bits, alphabet.symbols(codes).tolist())
    stream = encoder.finish()
    return stream if affordable(codes.size * bits // DECISIONS_A_US, len(stream)) else None


def _decode_adaptive(stream: Bytes, count: int, alphabet: Alphabet) -> np.ndarray:
    bits = (alphabet.size - 1).bit_length()
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
)
