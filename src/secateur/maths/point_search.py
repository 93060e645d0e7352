"""Search for points that lower the float error at no cost: as many products, and symmetric, so as few additions.

A set is 0, infinity and pairs +-p; where the number of points is odd one p stands alone. What is minimised is
`float_error.growth`. `POINTS` in `points` is what it finds.

Beside points, x^2 + 1 can be a modulus: the pair +-i, which lies far from all real points. It takes three products for
two conditions, and the error falls to a third and less: with one product more a tile grows by two outputs at an equal
error. `POINTS_BESIDE_I` is what the search finds for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import combinations
from math import gcd

import numpy as np

from secateur.maths.float_error import growth

LARGEST_PART = 5
"""Numerator and denominator of a candidate; larger ones no longer lower the error."""


def candidates() -> list[Fraction]:
    """Positive fractions of small parts, ascending."""
    parts = range(1, LARGEST_PART + 1)
    return sorted(Fraction(a, b) for a in parts for b in parts if gcd(a, b) == 1)


def search(outputs: int, taps: int, *, beside_i: bool = False) -> tuple[Fraction, ...]:
    """The best set for F(outputs, taps) without infinity, ordered 0, p, -p, ...; ties go to the first in order.

    beside_i: the set that goes with the modulus x^2 + 1.
    """
    sets = _sets(outputs + taps - 2 - 2 * beside_i)
    return min(sets, key=lambda points: (round(growth_of(points, outputs, taps, beside_i=beside_i), 9), points))


def growth_of(points: Sequence[Fraction], outputs: int, taps: int, *, beside_i: bool = False) -> float:
    """What the search minimises, for these points and infinity, and x^2 + 1; float64 is enough to compare."""
    p = np.array([float(point) for point in points])
    circle = np.array([1.0, 0.0, 1.0]) if beside_i else np.ones(1)
    differences = p[:, None] - p[None]
    np.fill_diagonal(differences, np.polyval(circle, p))
    last = [np.eye(1, size, size - 1) for size in (outputs, taps)]
    at, g = (np.vander(p, size, increasing=True) for size in (outputs, taps))
    bt = [np.append(0, np.polymul(circle, np.poly(np.delete(p, t)))) for t in range(len(p))]
    g = g / differences.prod(1)[:, None]
    if beside_i:
        at, g = (np.vstack([rows, _at_i(rows.shape[1])]) for rows in (at, g))
        bt += _back_from_i(np.poly(p))
    whole = np.polymul(circle, np.poly(p))
    return growth(np.vstack([at, last[0]]).T, np.vstack([g, last[1]]), np.array([*bt, whole]))


def _at_i(size: int) -> np.ndarray:
    """Rows that take a polynomial's coefficients, constant first, to Re, Im, and Re + Im of its value at i."""
    value = 1j ** np.arange(size)
    return np.array([value.real, value.imag, value.real + value.imag])


def _back_from_i(rest: np.ndarray) -> list[np.ndarray]:
    """The polynomials that the three products at i are multiplied by: 0 modulo the rest; modulo x^2 + 1 the real part
    is P0 - P1, the imaginary one P2 - P0 - P1 (Karatsuba)."""
    value = np.polyval(rest, 1j)
    one, x = (np.convolve(rest, [part.imag, part.real]) for part in (1 / value, 1j / value))
    return [np.append(0, row) for row in (one - x, -one - x, x)]


def _sets(count: int) -> Iterator[tuple[Fraction, ...]]:
    """Symmetric sets of `count` finite points."""
    given = candidates()
    if count == 0:
        yield ()
    for pairs in combinations(given, max(0, (count - 1) // 2)):
        points = (Fraction(0), *(sign * p for p in pairs for sign in (1, -1))) if count else ()
        if count % 2:
            yield points
        elif count:
            yield from ((*points, alone) for alone in given if alone not in pairs)
