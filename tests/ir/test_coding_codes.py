"""Codes go the shortest way, and every way brings them back."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.errors import ArtifactError
from secateur.ir.coding.alphabet import Alphabet
from secateur.ir.coding.codes import WAYS, Way, decode_codes, encode_codes, way_of

SHAPE = (28, 1, 5, 5)


def some(alphabet: Alphabet, count: int, spread: float = 1.0) -> np.ndarray:
    drawn = np.rint(np.random.default_rng(1).standard_normal(4 * count + 9) * alphabet.largest * spread)
    codes = np.clip(drawn, -alphabet.largest, alphabet.largest).astype(np.int8)
    return (codes if alphabet.zero else codes[codes != 0])[:count]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
@pytest.mark.parametrize("alphabet", [Alphabet(bits, zero) for bits in (2, 3, 8) for zero in (True, False)])
def test_every_way_brings_codes_back(way: Way, alphabet: Alphabet):
    for count in (2, 25, 700):
        codes = np.sort(some(alphabet, count))
        where = (None if alphabet.zero else np.arange(count) * (700 // count), SHAPE)
        stream = way.encode(codes, alphabet, where)
        assert stream is not None
        assert np.array_equal(way.decode(stream, count, alphabet, where), codes)
        with pytest.raises(ArtifactError):
            way.decode(bytes(stream) + 99 * b"more", count, alphabet, where)


def test_the_shortest_way_is_taken():
    wide, alphabet = Alphabet(8, zero=False), Alphabet(4, zero=False)
    even = wide.codes(np.random.default_rng(0).integers(0, wide.size, 300))
    few = some(alphabet, 3000, 0.2)
    ways = {
        "packed": encode_codes(even, wide, (None, (300,))),
        "adaptive": encode_codes(few, alphabet, (None, (3000,))),
        "zstd": encode_codes(np.tile(few[:100], 30), alphabet, (None, (3000,))),
        "ascending": encode_codes(np.sort(even), wide, (None, (300,))),
        "neighbours": encode_codes(np.abs(few) * np.repeat(np.sign(few[:120]), 25), alphabet, (None, (120, 1, 5, 5))),
        "none": encode_codes(even[:0], wide, (None, (0,))),
    }
    assert {name: way_of(stream) for name, stream in ways.items()} == {name: name for name in ways}


def test_packed_codes_are_packed_a_block_at_a_time():
    alphabet = Alphabet(3, zero=False)
    codes = some(alphabet, 70_001)
    stream = WAYS[0].encode(codes, alphabet, (None, codes.shape))
    assert stream is not None
    assert len(stream) == -(-3 * 70_001 // 8)
    assert np.array_equal(WAYS[0].decode(stream, codes.size, alphabet, (None, codes.shape)), codes)


@pytest.mark.parametrize(("stream", "count"), [(b"", 1), (b"\x7f", 1), (b"\x00", 3), (b"\x02", 200_001), (b"\x00", 0)])
def test_hostile_streams_are_refused(stream: bytes, count: int):
    with pytest.raises(ArtifactError):
        decode_codes(stream, count, Alphabet(4, zero=True), (None, (count,)))
