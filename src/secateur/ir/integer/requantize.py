"""Requantizing: from one scale to another with a multiplication, an addition and a shift.

Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR
2018, section 2.2, has the multiplier and the shift. That both are derived exactly from the stored scales, and that one
addition rounds half up, is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import floor

import numpy as np
from jaxtyping import Int64, Integer

from secateur.ir.integer.integers import HALF, INT32_MAX, Integers

MULTIPLIER_BITS = 31
MOST_BITS = 62  # of a product, so that the rounding's 2^(shift-1) still fits an int64
MOST_SHIFT = 62


@dataclass(frozen=True)
class Requantize:
    """clip((integer * multiplier + 2^(shift-1)) >> shift, low, high), multiplier and shift one a scale, broadcast."""

    multiplier: Int64[np.ndarray, "*m"]
    shift: Int64[np.ndarray, "*m"]
    low: int
    high: int

    def __call__(self, array: Integer[np.ndarray, "*n"]) -> Integer[np.ndarray, "*n"]:
        product = array.astype(np.int64) * self.multiplier
        product += np.left_shift(np.int64(1), self.shift - 1)
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
    return Requantize(multipliers, shifts, *codes)


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
