"""Sorted codes cost what a set of numbers costs, which is much less than a list of them."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.errors import ArtifactError
from secateur.ir.coding.alphabet import Alphabet
from secateur.ir.coding.ascending_codes import decode_ascending_codes, encode_ascending_codes

BYTE = Alphabet(8, zero=True)


def codes(count: int, spread: float = 30) -> np.ndarray:
    drawn = np.rint(np.random.default_rng(0).standard_normal(count) * spread)
    return np.sort(np.clip(drawn, -127, 127)).astype(np.int8)


@pytest.mark.parametrize("given", [codes(2), codes(300), codes(5000), codes(50, 1000), np.full(9, 127, np.int8)])
def test_sorted_codes_come_back(given: np.ndarray):
    stream = encode_ascending_codes(given, BYTE, (None, given.shape))
    assert stream is not None
    assert np.array_equal(decode_ascending_codes(stream, given.size, BYTE, (None, given.shape)), given)


def test_a_set_costs_less_than_a_list():
    stream = encode_ascending_codes(codes(300), BYTE, (None, (300,)))
    assert stream is not None
    assert len(stream) < 300 / 4


def test_what_does_not_ascend_is_left_to_others():
    for given in (np.array([1, 0], np.int8), codes(1), codes(0)):
        assert encode_ascending_codes(given, BYTE, (None, given.shape)) is None


@pytest.mark.parametrize(
    ("stream", "count", "message"),
    [
        (b"\xff" * 9, 1, "too few for 1"),
        (b"\xff" * 9, 50_001, "too few"),
        (b"", 20_000, "0 bytes are too few"),
        (b"\x00" * 40, 9, "leaves its grid"),
        (b"\xff" * 99, 9, "nothing reads"),
    ],
)
def test_hostile_streams_are_refused(stream: bytes, count: int, message: str):
    with pytest.raises(ArtifactError, match=message):
        decode_ascending_codes(stream, count, BYTE, (None, (count,)))
