"""Search for points that lower the float error at no cost: as many products, and symmetric, so as few additions.

A set is 0, infinity and pairs +-p; where the number of points is odd one p stands alone. What is minimised is
`float_error.growth`. `POINTS` in `points` is what it finds.
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


def search(outputs: int, taps: int) -> tuple[Fraction, ...]:
    """The best set for F(outputs, taps) without infinity, ordered 0, p, -p, ...; ties go to the first in order."""
    return min(_sets(outputs + taps - 2), key=lambda points: (round(growth_of(points, outputs, taps), 9), points))


def growth_of(points: Sequence[Fraction], outputs: int, taps: int) -> float:
    """What the search minimises, for these points and infinity; float64 is enough to compare."""
    p = np.array([float(point) for point in points])
    differences = p[:, None] - p[None]
    np.fill_diagonal(differences, 1)
    last = [np.eye(1, size, size - 1) for size in (outputs, taps)]
    at = np.vstack([np.vander(p, outputs, increasing=True), last[0]]).T
    g = np.vstack([np.vander(p, taps, increasing=True) / differences.prod(1)[:, None], last[1]])
    bt = np.array([np.append(0, np.poly(np.delete(p, t))) for t in range(len(p))] + [np.poly(p)])
    return growth(at, g, bt)


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
