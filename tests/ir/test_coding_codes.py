"""Codes go the shortest way, and every way brings them back."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.errors import ArtifactError
from secateur.ir.coding.codes import WAYS, Alphabet, decode_codes, encode_codes, way_of


def some(alphabet: Alphabet, count: int, spread: float = 1.0) -> np.ndarray:
    drawn = np.rint(np.random.default_rng(1).standard_normal(4 * count + 9) * alphabet.largest * spread)
    codes = np.clip(drawn, -alphabet.largest, alphabet.largest).astype(np.int8)
    return (codes if alphabet.zero else codes[codes != 0])[:count]


@pytest.mark.parametrize("zero", [True, False])
@pytest.mark.parametrize("bits", range(2, 9))
def test_an_alphabet_numbers_its_codes(bits: int, zero: bool):
    alphabet = Alphabet(bits, zero)
    codes = alphabet.codes(np.arange(alphabet.size))
    assert len(set(codes.tolist())) == alphabet.size
    assert (0 in codes) == zero
    assert np.abs(codes).max() == alphabet.largest
    assert np.array_equal(alphabet.symbols(codes), np.arange(alphabet.size))
    with pytest.raises(ArtifactError, match="leaves its grid"):
        alphabet.codes(np.array([alphabet.size]))


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
@pytest.mark.parametrize("alphabet", [Alphabet(bits, zero) for bits in (2, 3, 8) for zero in (True, False)])
def test_every_way_brings_codes_back(way, alphabet: Alphabet):
    for count in (1, 2, 700):
        codes = some(alphabet, count)
        stream = way.encode(codes, alphabet)
        assert stream is not None
        assert np.array_equal(way.decode(stream, count, alphabet), codes)
        with pytest.raises(ArtifactError):
            way.decode(bytes(stream) + b"nine more", count, alphabet)


def test_the_shortest_way_is_taken():
    wide, alphabet = Alphabet(8, zero=False), Alphabet(4, zero=False)
    even = wide.codes(np.random.default_rng(0).integers(0, wide.size, 300))
    assert way_of(encode_codes(even, wide)) == "packed"
    assert way_of(encode_codes(some(alphabet, 3000, 0.2), alphabet)) == "adaptive"
    assert way_of(encode_codes(np.tile(some(alphabet, 100), 30), alphabet)) == "zstd"
    assert encode_codes(even[:0], wide) == b""
    assert way_of(b"") == "none"


@pytest.mark.parametrize(("stream", "count"), [(b"", 1), (b"\x7f", 1), (b"\x00", 3), (b"\x02", 200_001), (b"\x00", 0)])
def test_hostile_streams_are_refused(stream: bytes, count: int):
    with pytest.raises(ArtifactError):
        decode_codes(stream, count, Alphabet(4, zero=True))
