"""Requantizing: from one scale to another with a multiplication, an addition and a shift.

Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR
2018, section 2.2, has the multiplier and the shift. That both are derived exactly from the stored scales, that one
addition rounds half up, and that it makes up for the rounding of the multiplier is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from typing import TYPE_CHECKING

import numpy as np

from secateur.ir.integer.integers import HALF, INT32_MAX, Integers

if TYPE_CHECKING:
    from jaxtyping import Int64, Integer

MULTIPLIER_BITS = 31
MOST_BITS = 62  # of a product, so that the rounding's 2^(shift-1) still fits an int64
MOST_SHIFT = 62


@dataclass(frozen=True)
class Requantize:
    """clip((integer * multiplier + addend) >> shift, low, high); multiplier, addend and shift one a scale, broadcast.

    The addend is 2^(shift-1) + d. d is zero where the multiplier is exact; elsewhere it is the most that its rounding
    can take from a product: half of the largest |integer| that is not clipped anyway. So a value that is exactly a half
    goes up, as it does where multipliers are exact. Halves are no accident: of scales with few digits one code in a
    thousand lies there.
    """

    multiplier: Int64[np.ndarray, "*m"]
    addend: Int64[np.ndarray, "*m"]
    shift: Int64[np.ndarray, "*m"]
    low: int
    high: int

    def __call__(self, array: Integer[np.ndarray, "*n"]) -> Integer[np.ndarray, "*n"]:
        product = array.astype(np.int64) * self.multiplier + self.addend
        return np.asarray(np.clip(product >> self.shift, self.low, self.high))


def requantize(values: Integers, scale: Fraction, codes: tuple[int, int], ndim: int) -> Requantize | str:
    """How integers of a value with so many axes become codes of this scale and range; or why they cannot."""
    if (bits := multiplier_bits(values.bound)) < 1:
        return "its integers are too wide to be multiplied"
    pairs = {old: multiplier(old / scale, bits) for old in values.scales}
    found = {old: pair for old, pair in pairs.items() if pair is not None}
    if len(found) < len(pairs):
        return "its scale is too far above that of the codes"
    multipliers, shifts = (values.each(lambda old, part=part: found[old][part], ndim) for part in (0, 1))
    reach = {old: _reaching(values.bound, old / scale, codes) for old in found}
    addends = values.each(lambda old: addend(old / scale, *found[old], reach[old]), ndim)
    return Requantize(multipliers, addends, shifts, *codes)


def addend(ratio: Fraction, factor: int, shift: int, bound: int) -> int:
    """2^(shift-1) + d for a multiplier of integers up to `bound`."""
    exact = Fraction(factor, 1 << shift) == ratio or not factor  # of zeros all results are zero
    return (1 << (shift - 1)) + (0 if exact else lost(bound))


def _reaching(bound: int, ratio: Fraction, codes: tuple[int, int]) -> int:
    """The largest |integer| up to `bound` that is not clipped anyway: of joined parts, codes beside sums, each has a
    bound of its own, and what the multiplier of one takes from the other's integers is nothing to make up for."""
    return min(bound, ceil((max(map(abs, codes)) + 1) / ratio))


def lost(bound: int) -> int:
    """The most that rounding a multiplier to an integer can take from its product with an integer up to `bound`."""
    return (bound + 1) // 2


def multiplier_bits(bound: int) -> int:
    """Bits a multiplier has for integers up to `bound`: 31 for int32, fewer for wider ones, whose products must still
    fit an int64."""
    return MULTIPLIER_BITS if bound <= INT32_MAX else min(MULTIPLIER_BITS, MOST_BITS - bound.bit_length())


def multiplier(ratio: Fraction, bits: int = MULTIPLIER_BITS) -> tuple[int, int] | None:
    """(M, s): ratio = M / 2^s, M rounded half up to so many bits: 2^(bits-1) <= M < 2^bits, 1 <= s <= 62.

    (0, 1) where a shift by 62 is not enough: then the largest integer times the ratio is less than a half, so all
    results are zero. None where the ratio is so large that there would be nothing to shift.
    """
    exponent = floor_log2(ratio)
    shift = bits - 1 - exponent
    found = floor(ratio * Fraction(2) ** shift + HALF)
    if found == 1 << bits:  # rounded up to the next power of two
        found, shift = found >> 1, shift - 1
    if shift > MOST_SHIFT:
        return 0, 1
    return (found, shift) if shift >= 1 else None


def floor_log2(number: Fraction) -> int:
    """The largest integer e with 2^e <= number, which is positive."""
    guess = number.numerator.bit_length() - number.denominator.bit_length()
    return guess if Fraction(2) ** guess <= number else guess - 1
