"""Integers: what the integers of a value stand for, and how large they can be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float32, Int64, Integer

INT32_MAX = 2**31 - 1
CODE_MAX = 2**8 - 1
"""The largest code of a map."""
HALF = Fraction(1, 2)

Places: TypeAlias = 'Int64[np.ndarray, " positions"]'


@dataclass(frozen=True, eq=False)
class Integers:
    """real = integer * scale, low <= integer <= high.

    scales  exact and different: one for all; or several, and `places` says which of them each position of `axis` has
    """

    scales: tuple[Fraction, ...]
    low: int
    high: int
    axis: int | None = None
    places: Int64[np.ndarray, " positions"] | None = None

    @property
    def bound(self) -> int:
        """The largest |integer|."""
        return max(abs(self.low), abs(self.high))

    @property
    def are_codes(self) -> bool:
        """Whether they are small and share one scale, so that a layer can multiply them."""
        return self.axis is None and self.bound <= CODE_MAX

    @property
    def dtype(self) -> type[np.int32] | type[np.int64]:
        return np.int32 if self.bound <= INT32_MAX else np.int64

    def each(self, function: Callable[[Fraction], int], ndim: int) -> Int64[np.ndarray, ...]:
        """function(scale) in a shape that broadcasts against a value of so many axes."""
        return self._along(np.array([function(scale) for scale in self.scales], np.int64), ndim)

    def real(self, array: Integer[np.ndarray, "*n"]) -> Float32[np.ndarray, "*n"]:
        """float32(integer) * float32(scale), one float32 multiplication."""
        steps = self._along(np.array([float(scale) for scale in self.scales], np.float32), array.ndim)
        return np.asarray(array.astype(np.float32) * steps)

    def where(self, positions: int) -> Places:
        """Which scale each position of an axis has."""
        return np.zeros(positions, np.int64) if self.places is None else self.places

    def _along(self, numbers: np.ndarray, ndim: int) -> np.ndarray:
        if self.axis is None or self.places is None:
            return numbers.reshape(())
        return numbers[self.places].reshape(-1, *(1,) * (ndim - self.axis - 1))


@dataclass(frozen=True)
class Found:
    """Codes whose scales are found at run time: real = code * scale, low <= code <= high.

    axes  those along which one scale holds
    """

    low: int
    high: int
    axes: frozenset[int]

    @property
    def bound(self) -> int:
        """The largest |code|."""
        return max(abs(self.low), abs(self.high))


def integers(
    scales: tuple[Fraction, ...], low: int, high: int, axis: int | None, places: Int64[np.ndarray, " positions"] | None
) -> Integers:
    """Integers with the scales that the places use, each once; without an axis where that is one."""
    if places is None:
        return Integers(scales, low, high)
    used = np.unique(places)
    order = {scale: number for number, scale in enumerate(dict.fromkeys(scales[place] for place in used.tolist()))}
    if len(order) == 1:
        return Integers(tuple(order), low, high)
    numbers = np.array([order.get(scale, 0) for scale in scales], np.int64)
    return Integers(tuple(order), low, high, axis, numbers[places])


def half_up(number: Fraction) -> int:
    """The nearest integer; of two, the larger."""
    return floor(number + HALF)


def exact_float(bound: int) -> type[np.float32] | type[np.float64] | None:
    """The narrower float in which integers up to `bound` are exact, also as sums of products, in whatever order: no
    partial sum is larger than the sum of magnitudes. None where there is none.

    Products of matrices of floats are what BLAS is for; numpy's own for integers are some ten times slower.
    """
    return np.float32 if bound < 2**24 else np.float64 if bound < 2**53 else None
