"""Varints come back, in one form only; a Reader never passes its end."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.errors import ArtifactError
from secateur.ir.coding.varint import Reader, varint


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**63 - 1), max_size=10))
def test_numbers_come_back(numbers: list[int]):
    reader = Reader(b"".join(map(varint, numbers)))
    assert [reader.varint() for _ in numbers] == numbers
    reader.end()


def test_sizes():
    assert [len(varint(number)) for number in (0, 127, 128, 16383, 16384, 2**63 - 1)] == [1, 1, 2, 2, 3, 9]


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff" * 9 + b"\x01", b"\x80\x00"])
def test_bad_numbers_are_refused(data: bytes):
    with pytest.raises(ArtifactError):
        Reader(data).varint()


def test_pieces_are_views_in_order():
    data = b"abcdef"
    reader = Reader(data)
    assert (bytes(reader.take(2)), reader.left, bytes(reader.rest()), reader.left) == (b"ab", 4, b"cdef", 0)
    assert Reader(data).take(3).obj is data


@pytest.mark.parametrize("count", [-1, 4, 2**62])
def test_taking_what_is_not_there_is_refused(count: int):
    with pytest.raises(ArtifactError, match="are left"):
        Reader(b"abc").take(count)


def test_what_is_left_over_is_refused():
    with pytest.raises(ArtifactError, match="3 bytes follow"):
        Reader(b"abc").end()
