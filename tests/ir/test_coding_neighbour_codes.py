"""Codes of smooth filters cost less beside one another; wherever they lie, they come back."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.errors import ArtifactError
from secateur.ir.coding.alphabet import Alphabet
from secateur.ir.coding.images import Image
from secateur.ir.coding.neighbour_codes import decode_neighbour_codes, encode_neighbour_codes


def smooth(shape: tuple[int, ...], largest: int, density: float) -> np.ndarray:
    """Filters whose codes change slowly, some of them zero."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(shape)
    for axis in (-1, -2):
        noise = noise + np.roll(noise, 1, axis) + np.roll(noise, 2, axis)
    codes = np.clip(np.rint(noise * largest / 5), -largest, largest)
    return (codes * (rng.random(shape) < density)).astype(np.int8)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize(("shape", "density"), [((8, 3, 5, 5), 1.0), ((8, 3, 5, 5), 0.4), ((20, 9, 7), 1.0)])
def test_codes_of_a_convolution_come_back(shape: tuple[int, ...], density: float, bits: int):
    codes = smooth(shape, (1 << (bits - 1)) - 1, density).reshape(-1)
    positions = np.flatnonzero(codes)
    for given, places in ((codes, None), (codes[positions], positions)):
        alphabet = Alphabet(bits, zero=places is None)
        stream = encode_neighbour_codes(given, alphabet, (places, shape))
        assert stream is not None
        assert np.array_equal(decode_neighbour_codes(stream, given.size, alphabet, (places, shape)), given)


def test_codes_of_a_linear_layer_that_reads_images():
    mask, rng = np.zeros((90, 12, 12), dtype=np.bool_), np.random.default_rng(2)
    for filters, (row, column) in zip(mask, rng.integers(0, 7, (90, 2)), strict=True):
        filters[row : row + 6, column : column + 3] = True
    codes = (smooth((90, 12, 12), 7, 1.0) * mask).reshape(90, 144)
    positions, alphabet = np.flatnonzero(codes), Alphabet(4, zero=False)
    values = codes.reshape(-1)[positions]
    stream = encode_neighbour_codes(values, alphabet, (positions, codes.shape))
    assert stream is not None
    assert stream[0] == 12
    assert np.array_equal(decode_neighbour_codes(stream, values.size, alphabet, (positions, codes.shape)), values)
    shuffled = np.random.default_rng(1).permutation(values)
    other = encode_neighbour_codes(shuffled, alphabet, (positions, codes.shape))
    assert other is not None
    assert len(stream) < 0.9 * len(other)


def test_where_there_is_no_image_there_are_no_neighbours():
    codes = np.ones(50, np.int8)
    assert encode_neighbour_codes(codes, Alphabet(3, zero=False), (None, (50,))) is None
    assert encode_neighbour_codes(codes, Alphabet(3, zero=False), (None, (25, 2, 1))) is None


@pytest.mark.parametrize(
    ("stream", "shape", "message"),
    [
        (b"", (4, 9), "are left"),
        (b"\x03\x0a" + bytes(9), (4, 9), "images in a tensor do not fit"),
        (b"\x03\x09", (400, 900), "too few"),
        (b"\x03\x09", (60, 81), "too few"),
        (Image(3, 9).to_bytes() + b"\xff" * 99, (4, 9), "leaves its grid|nothing reads"),
        (Image(3, 8).to_bytes() + bytes(99), (4, 9), "nothing reads"),
        (b"\x00" + bytes(99), (4, 9), "nothing reads"),
    ],
)
def test_hostile_streams_are_refused(stream: bytes, shape: tuple[int, ...], message: str):
    with pytest.raises(ArtifactError, match=message):
        decode_neighbour_codes(stream, shape[0] * shape[1], Alphabet(4, zero=True), (None, shape))
