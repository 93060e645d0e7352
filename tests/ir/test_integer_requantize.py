"""Requantizing against exact fractions: multiplier and shift are the nearest there are, and half goes up."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.ir.integer.integers import INT32_MAX, Integers, half_up
from secateur.ir.integer.requantize import Requantize, floor_log2, multiplier, multiplier_bits, requantize

HALF = Fraction(1, 2)
ratios = st.builds(
    lambda top, bottom, power: Fraction(top, bottom) * Fraction(2) ** power,
    st.integers(1, 2**35),
    st.integers(1, 2**11),
    st.integers(-80, -8),
)
scales = st.floats(2**-14, 2**4, width=16).map(Fraction)


@given(ratios)
def test_a_multiplier_is_the_nearest_of_31_bits(ratio: Fraction):
    found = multiplier(ratio)
    if found is None:
        assert ratio >= 2**29
        return
    number, shift = found
    if not number:
        assert ratio * 2**31 < HALF
        return
    assert 2**30 <= number < 2**31
    assert 1 <= shift <= 62
    assert abs(number - ratio * 2**shift) <= HALF


@given(st.integers(-60, 29), st.integers(1, 31))
def test_powers_of_two_are_exact_at_any_width(power: int, bits: int):
    found = multiplier(Fraction(2) ** power, bits)
    if found and found[0]:
        assert Fraction(found[0], 2 ** found[1]) == Fraction(2) ** power
    assert multiplier(Fraction(1)) == (2**30, 30)


@given(st.fractions(min_value=Fraction(1, 10**9), max_value=10**9))
def test_the_logarithm_is_exact(number: Fraction):
    assert 2 ** Fraction(floor_log2(number)) <= number < 2 ** Fraction(floor_log2(number) + 1)


def test_a_ratio_that_rounds_up_to_the_next_power_gets_the_smaller_shift():
    assert multiplier(Fraction(2**40 - 1, 2**40)) == (2**30, 30)


@given(scales, scales, st.lists(st.integers(-INT32_MAX, INT32_MAX), min_size=1), st.booleans())
def test_requantizing_is_the_formula_and_near_the_exact_quotient(
    old: Fraction, new: Fraction, numbers: list[int], signed: bool
):
    low, high = (-127, 127) if signed else (0, 255)
    old *= Fraction(1, 2**16)
    found = requantize(Integers((old,), -INT32_MAX, INT32_MAX), new, (low, high), 1)
    assert isinstance(found, Requantize)
    codes = found(np.array(numbers, np.int32)).tolist()
    factor, shift = int(found.multiplier), int(found.shift)
    d = min(2**30, ceil(ceil((high + 1) * new / old) / 2)) if factor and Fraction(factor, 2**shift) != old / new else 0
    for number, code in zip(numbers, codes, strict=True):
        assert code == min(max(number * factor + 2 ** (shift - 1) + d >> shift, low), high)
        exact = number * old / new
        assert min(max(floor(exact + HALF), low), high) <= code
        assert code <= min(max(floor(exact + HALF + Fraction(2 * d, 2**shift)), low), high)


@given(st.integers(1, 2**11), st.integers(1, 2**10), st.integers(-255, 255))
def test_exact_halves_of_codes_go_up_whatever_the_multiplier_rounds_to(top: int, bottom: int, number: int):
    """number * top / (2 bottom), as float16 scales have it: all halves are met, and whatever is next to one is not."""
    found = requantize(Integers((Fraction(top, 2 * bottom),), -255, 255), Fraction(1), (-(2**20), 2**20), 1)
    assert isinstance(found, Requantize)
    assert found(np.array([number])).tolist() == [half_up(number * Fraction(top, 2 * bottom))]


def test_the_widest_products_fit_an_int64():
    """The largest int32 times the largest multiplier, and 2^61 more, is below 2^63; numpy would not say so."""
    assert INT32_MAX * (2**31 - 1) + 2**61 < 2**63
    for bound in (2**31, 2**40 - 1, 2**52, 2**61 - 1):
        assert bound * (2 ** multiplier_bits(bound) - 1) + 2**61 < 2**63
    assert multiplier_bits(INT32_MAX) == 31
    found = requantize(
        Integers((Fraction(1),), -INT32_MAX, INT32_MAX), Fraction(2) - Fraction(1, 2**20), (-127, 127), 1
    )
    assert isinstance(found, Requantize)
    np.testing.assert_array_equal(found(np.array([INT32_MAX, -INT32_MAX])), [127, -127])


def test_wider_integers_have_fewer_bits_left_for_the_multiplier():
    wide = Integers((Fraction(1, 2**31),), -(2**40), 2**40)
    found = requantize(wide, Fraction(1), (-127, 127), 1)
    assert isinstance(found, Requantize)
    assert int(found.multiplier).bit_length() <= 22
    np.testing.assert_array_equal(found(np.array([2**30, -(2**30), 2**37, 3 * 2**30])), [1, 0, 64, 2])
    assert requantize(Integers((Fraction(1),), 0, 2**62), Fraction(1), (0, 1), 1) == (
        "its integers are too wide to be multiplied"
    )


def test_every_channel_has_its_own_multiplier():
    values = Integers((Fraction(1, 4), Fraction(1, 3)), -100, 100, 1, np.array([0, 1, 0]))
    found = requantize(values, Fraction(1), (-127, 127), 3)
    assert isinstance(found, Requantize)
    y = found(np.full((2, 3, 2), 30, np.int32))
    np.testing.assert_array_equal(y[0, :, 0], [8, 10, 8])  # 7.5 goes up


def test_what_sums_can_reach_moves_no_codes_that_are_joined_with_them():
    """Codes at two thirds of a step beside accumulators of up to 2^31: half of those would be a quarter of a step."""
    values = Integers((Fraction(2, 3), Fraction(1, 2**24 + 1)), -INT32_MAX, INT32_MAX, 0, np.array([0, 1]))
    found = requantize(values, Fraction(1), (0, 255), 2)
    assert isinstance(found, Requantize)
    codes = np.arange(256)
    expected = [half_up(Fraction(2, 3) * int(code)) for code in codes]
    np.testing.assert_array_equal(found(np.stack([codes, codes * 2**24]))[0], expected)


@pytest.mark.parametrize(("number", "expected"), [("1/2", 1), ("-1/2", 0), ("-3/2", -1), ("7/3", 2), ("-5/3", -2)])
def test_half_up(number: str, expected: int):
    assert half_up(Fraction(number)) == expected
