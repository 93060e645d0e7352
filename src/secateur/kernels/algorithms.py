"""Which fast algorithms a layer can choose from: F(m x n, r x s), Toom-Cook per axis, over points that round well."""

from __future__ import annotations

import functools
from fractions import Fraction
from itertools import product

from secateur.maths.bilinear import Bilinear
from secateur.maths.nesting import nested, of_points
from secateur.maths.scaling import balanced

Pair = tuple[int, int]


def _pairs(*positive: str) -> tuple[Fraction, ...]:
    """0 and both signs of each number."""
    return (Fraction(0), *(sign * Fraction(p) for p in positive for sign in (1, -1)))


POINTS: dict[int, tuple[Fraction, ...]] = {
    0: (),
    1: _pairs(),
    2: (*_pairs(), Fraction(1)),
    3: _pairs("1"),
    4: (*_pairs("3/4"), Fraction(2)),
    5: _pairs("2/3", "3/2"),
    6: (*_pairs("1/2", "1"), Fraction(3)),
    7: _pairs("1/2", "1", "2"),
    8: (*_pairs("2/5", "4/5", "4/3"), Fraction(3)),
    9: _pairs("2/5", "4/5", "5/4", "5/2"),
}
"""Number of finite points m + r - 2 -> the points, infinity apart, as `maths.point_search` finds them: those over which
rounding errors grow least."""
LARGEST_OUTPUTS = 8


@functools.cache
def axis_algorithm(outputs: int, taps: int) -> Bilinear:
    """F(outputs, taps) in one dimension, scaled so that its transforms multiply little."""
    return balanced(of_points(outputs, taps, POINTS[outputs + taps - 2]))


@functools.cache
def plane_algorithm(outputs: Pair, taps: Pair) -> Bilinear:
    """F(outputs, taps) in two dimensions, one algorithm nested in the other."""
    return nested(*(axis_algorithm(m, r) for m, r in zip(outputs, taps, strict=True)))


def catalogue(taps: Pair) -> list[Pair]:
    """The extents of output tiles there are algorithms for; an axis with one tap is not tiled (1)."""
    if taps == (1, 1):
        return []
    axes = [[1] if r == 1 else [m for m in range(2, LARGEST_OUTPUTS + 1) if m + r - 2 in POINTS] for r in taps]
    return [(rows, columns) for rows, columns in product(*axes)]
