"""Numbers of a fixed width come back, and take no more bits than that."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.ir.coding.bits import pack_bits, unpack_bits


@pytest.mark.parametrize("width", [1, 3, 8, 11])
@pytest.mark.parametrize("count", [0, 1, 7, 8, 1000])
def test_numbers_come_back(width: int, count: int):
    numbers = np.random.default_rng(0).integers(0, 1 << width, count)
    packed = pack_bits(numbers, width)
    assert len(packed) == (count * width + 7) // 8
    assert np.array_equal(unpack_bits(packed, width, count), numbers)


def test_the_highest_bit_comes_first():
    assert pack_bits(np.array([4, 1]), 3) == bytes([0b10000100])
