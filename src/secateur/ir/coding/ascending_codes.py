"""Codes in ascending order, as those of the biases of sorted units: steps up and codes, one decision each.

Every code is a one, every step from a code to the next larger a zero before it. Where many of the last decisions were
ones, codes are dense: their number is the context. 290 biases in 8 bits take 44 bytes, as a list they take 154.
"""

from __future__ import annotations

import numpy as np

from secateur.errors import ArtifactError
from secateur.ir.coding.alphabet import Alphabet, Places
from secateur.ir.coding.range_coder import Decoder, Encoder, Models, affordable
from secateur.ir.coding.varint import Bytes

MOST_CODES = 50_000
REMEMBERED = 8  # decisions
MASK = (1 << REMEMBERED) - 1


def encode_ascending_codes(codes: np.ndarray, alphabet: Alphabet, _where: Places) -> bytes | None:
    """The stream, or None for codes that do not ascend and for more than plain Python does quickly."""
    if not 1 < codes.size <= MOST_CODES or (codes[1:] < codes[:-1]).any():
        return None
    encoder, models, last, history = Encoder(), Models(REMEMBERED + 1), 0, 0
    for symbol in alphabet.symbols(codes).tolist():
        for _ in range(symbol - last):
            encoder.bit(models, history.bit_count(), 0)
            history = history << 1 & MASK
        encoder.bit(models, history.bit_count(), 1)
        history = history << 1 & MASK | 1
        last = symbol
    stream = encoder.finish()
    return stream if affordable(codes.size + alphabet.size, len(stream)) else None


def decode_ascending_codes(stream: Bytes, count: int, alphabet: Alphabet, _where: Places) -> np.ndarray:
    """The codes; ArtifactError on any stream that `encode_ascending_codes` does not write."""
    if not 1 < count <= MOST_CODES or not affordable(count + alphabet.size, len(stream)):
        raise ArtifactError(f"damaged artifact: {len(stream)} bytes are too few for {count} ascending codes")
    decoder, models, history, symbol = Decoder(stream), Models(REMEMBERED + 1), 0, 0
    symbols: list[int] = []
    while len(symbols) < count:
        if decoder.bit(models, history.bit_count()):
            history = history << 1 & MASK | 1
            symbols.append(symbol)
        else:
            history = history << 1 & MASK
            symbol += 1
            if symbol >= alphabet.size:
                raise ArtifactError(f"damaged artifact: a code of {alphabet.bits} bits leaves its grid")
    decoder.finish()
    return alphabet.codes(np.array(symbols))
