"""What integers stand for: scales of positions, what they become as float32, and which float is exact."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from secateur.ir.integer.integers import Integers, exact_float, integers

HALF, THIRD = Fraction(1, 2), Fraction(1, 3)


def test_scales_follow_their_positions():
    x = integers((THIRD, HALF, THIRD, Fraction(7)), -9, 9, 1, np.array([1, 0, 2, 1]))
    assert set(x.scales) == {HALF, THIRD}
    assert [x.scales[place] for place in x.where(4).tolist()] == [HALF, THIRD, THIRD, HALF]
    y = x.real(np.full((2, 4, 3), 3))
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y[1, :, 2], np.float32([1.5, 1, 1, 1.5]))


def test_equal_scales_are_one_for_all():
    x = integers((HALF, HALF), -9, 9, 1, np.array([1, 0, 1]))
    assert (x.scales, x.axis, x.places) == ((HALF,), None, None)
    assert x.are_codes
    np.testing.assert_array_equal(x.where(2), [0, 0])


def test_what_is_small_and_of_one_scale_are_codes():
    assert Integers((HALF,), 0, 255).are_codes
    assert not Integers((HALF,), 0, 256).are_codes
    assert not Integers((HALF, THIRD), 0, 1, 1, np.array([0, 1])).are_codes
    assert [Integers((HALF,), -bound, 0).dtype for bound in (2**31 - 1, 2**31)] == [np.int32, np.int64]


@pytest.mark.parametrize("bound", [2**24 - 1, 2**53 - 1])
def test_sums_up_to_a_bound_are_exact_in_the_float_that_is_chosen(bound: int):
    """And one beyond the next power of two is not: the limit is not too high."""
    exact = exact_float(bound)
    assert exact is not None
    numbers = np.array([bound - 2, 1, 1], exact)
    assert int(numbers.sum()) == int(numbers[::-1].sum()) == bound
    assert exact(bound + 2) - exact(bound + 1) != 1
    assert exact_float(bound + 1) is not exact
    assert exact_float(2**60) is None
