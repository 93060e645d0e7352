"""Search for points that lower the float error at no cost: as many products, and symmetric, so as few additions.

A set is infinity, pairs +-p, and 0 where their number asks for it: an even number of finite points, from four on, does
without 0, or has it and one p that stands alone (two are 0 and another: fewer additions). What is minimised is
`float_error.growth`. `POINTS` in `points` is what it finds.

Beside points, x^2 + 1 or x^6 - 1 can be moduli: the pair +-i, or the six sixth roots of 1, which lie far from all other
real points. Each conjugate pair takes three products for two conditions, and the error falls to a third and less: with
a product more a tile grows by two outputs at an equal error. `POINTS_BESIDE` is what the search finds for them.

Outputs at the ends of a tile err several times as much as those in its middle. Where a class of accuracy, which bounds
the largest error, only just refuses an algorithm, `refined` takes finer fractions and lowers the largest growth of an
output instead of the mean: to two thirds for F(7x9,5x5).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import reduce
from itertools import combinations, product
from math import gcd

import numpy as np

from secateur.maths.float_error import growths

LARGEST_PART = 5
"""Numerator and denominator of a candidate; larger ones no longer lower the error."""
FINEST_PART, NEAR, NEAR_TOGETHER = 12, 12, 3
"""The same for `refined`, and how many candidates up and down one point moves, or two points together."""
Pairs = tuple[tuple[int, int], ...]
FIELDS: dict[str, tuple[tuple[int, ...], Pairs]] = {
    "": ((), ()),
    "x^2+1": ((), ((0, 1),)),
    "x^6-1": ((1, -1), ((1, 1), (-1, -1))),
}
"""Modulus -> its real roots, and for each factor x^2 - t x + 1 (t, s): its third product is one of sums a + s b."""


def candidates(largest_part: int = LARGEST_PART) -> list[Fraction]:
    """Positive fractions of small parts, ascending."""
    parts = range(1, largest_part + 1)
    return sorted(Fraction(a, b) for a in parts for b in parts if gcd(a, b) == 1)


def search(outputs: int, taps: int, *, beside: str = "") -> tuple[Fraction, ...]:
    """The best set for F(outputs, taps) without infinity, ordered 0, p, -p, ...; ties go to the first in order.

    beside: the modulus of FIELDS that the set goes with.
    """
    real, pairs = FIELDS[beside]
    sets = _sets(outputs + taps - 2 - len(real) - 2 * len(pairs), [p for p in candidates() if p not in real])
    return min(sets, key=lambda points: (round(growth_of(points, outputs, taps, beside=beside), 9), points))


def refined(points: Sequence[Fraction], outputs: int, taps: int, *, beside: str = "") -> tuple[Fraction, ...]:
    """0 where it is given, and pairs +-p of finer fractions, near the given ones, of less largest growth of an output:
    as long as one pair, or two together, moved to neighbouring fractions lower it."""
    given = [p for p in candidates(FINEST_PART) if p not in FIELDS[beside][0]]
    zero, found = tuple(p for p in points if p == 0), [p for p in points if p > 0]

    def worst(pairs: Sequence[Fraction]) -> float:
        whole = (*zero, *(sign * p for p in pairs for sign in (1, -1)))
        return float(growths_of(whole, outputs, taps, beside=beside).max())

    least, before = worst(found), float("inf")
    while least < before - 1e-9:
        before = least
        for moved in _moved(found, given):
            if (error := worst(moved)) < least - 1e-9:
                least, found = error, moved
    return (*zero, *(sign * p for p in found for sign in (1, -1)))


def _moved(pairs: list[Fraction], given: list[Fraction]) -> Iterator[list[Fraction]]:
    """Sets in which one pair, or two, went to near candidates."""
    places = [given.index(p) for p in pairs]
    for count, near in ((1, NEAR), (2, NEAR_TOGETHER)):
        for which in combinations(range(len(pairs)), count):
            for steps in product(range(-near, near + 1), repeat=count):
                moved = dict(zip(which, steps, strict=True))
                to = [place + moved.get(number, 0) for number, place in enumerate(places)]
                if len(set(to)) == len(to) and min(to) >= 0 and max(to) < len(given):
                    yield [given[place] for place in to]


def growth_of(points: Sequence[Fraction], outputs: int, taps: int, *, beside: str = "") -> float:
    """What the search minimises: the root mean square of `growths_of`."""
    return float(np.sqrt((growths_of(points, outputs, taps, beside=beside) ** 2).mean()))


def growths_of(points: Sequence[Fraction], outputs: int, taps: int, *, beside: str = "") -> np.ndarray:
    """`float_error.growths` for these points, infinity and the roots of `beside`; float64 is enough to compare."""
    real, pairs = FIELDS[beside]
    p = np.array([float(point) for point in (*points, *real)])
    factors = [np.array([1.0, -t, 1.0]) for t, _ in pairs]
    circle = reduce(np.polymul, factors, np.ones(1))
    differences = p[:, None] - p[None]
    np.fill_diagonal(differences, np.polyval(circle, p))
    last = [np.eye(1, size, size - 1) for size in (outputs, taps)]
    at, g = (np.vander(p, size, increasing=True) for size in (outputs, taps))
    bt = [np.append(0, np.polymul(circle, np.poly(np.delete(p, t)))) for t in range(len(p))]
    g = g / differences.prod(1)[:, None]
    for number, pair in enumerate(pairs):
        at, g = (np.vstack([rows, _at_pair(*pair, rows.shape[1])]) for rows in (at, g))
        others = factors[:number] + factors[number + 1 :]
        bt += _back_from_pair(*pair, reduce(np.polymul, others, np.poly(p)))
    whole = np.polymul(circle, np.poly(p))
    return growths(np.vstack([at, last[0]]).T, np.vstack([g, last[1]]), np.array([*bt, whole]))


def _at_pair(t: int, s: int, size: int) -> np.ndarray:
    """Rows that take a polynomial's coefficients, constant first, to a, b, and a + s b of its residue a + b x modulo
    x^2 - t x + 1."""
    residues = [(1, 0), (0, 1)]
    while len(residues) < size:
        a, b = residues[-1]
        residues.append((-b, a + t * b))
    a, b = np.array(residues[:size], float).T
    return np.array([a, b, a + s * b])


def _back_from_pair(t: int, s: int, rest: np.ndarray) -> list[np.ndarray]:
    """The polynomials that the three products modulo x^2 - t x + 1 are multiplied by: 0 modulo the rest. By Karatsuba
    the residue is P0 - P1 + (s (P2 - P0 - P1) + t P1) x."""
    root = t / 2 + 1j * np.sqrt(1 - t * t / 4)
    one, x = (_with_value(value / np.polyval(rest, root), root, rest) for value in (1, root))
    return [np.append(0, row) for row in (one - s * x, (t - s) * x - one, s * x)]


def _with_value(value: complex, root: complex, rest: np.ndarray) -> np.ndarray:
    """rest times the line through `value` at the root, of as many coefficients whatever the line."""
    slope = value.imag / root.imag
    return np.convolve(rest, [slope, value.real - slope * root.real])


def _sets(count: int, given: Sequence[Fraction]) -> Iterator[tuple[Fraction, ...]]:
    """Symmetric sets of `count` finite points."""
    zero = (Fraction(0),)
    for pairs in combinations(given, count // 2):
        points = tuple(sign * p for p in pairs for sign in (1, -1))
        if count % 2 or count != 2:
            yield (*zero, *points) if count % 2 else points
    if count and count % 2 == 0:
        for pairs in combinations(given, count // 2 - 1):
            points = tuple(sign * p for p in pairs for sign in (1, -1))
            yield from ((*zero, *points, alone) for alone in given if alone not in pairs)
