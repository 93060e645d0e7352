"""A linear transform as a list of additions: what a kernel or a circuit computes, one step after the other.

The list is found by eliminating common subexpressions of two terms, the most frequent first (Hartley, "Subexpression
sharing in filters using canonic signed digit multipliers", 1996; here over rationals and up to a common factor).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from heapq import heapify, heappop, heappush
from math import gcd

import numpy as np

from secateur.maths.exact_matrix import ExactMatrix, exact

SHORT_BITS = 8
"""Integers that bfloat16, the shortest format here, holds exactly."""

Row = dict[int, int]
"""Value -> its coefficient, times the common denominator."""
Term = tuple[Fraction, int]
"""A coefficient and the value it belongs to."""
Pair = tuple[int, int, int, int]
"""(a, b, p, q): p a + q b up to a factor, p > 0, without a common factor."""


@dataclass(frozen=True)
class Step:
    """One new value: ca * value[a] + cb * value[b]. cb = 0: a value is only scaled."""

    ca: Fraction
    a: int
    cb: Fraction
    b: int


@dataclass(frozen=True)
class StraightLine:
    """Values 0 .. inputs-1 are given, every step appends one; outputs names the values that are the result."""

    inputs: int
    steps: tuple[Step, ...]
    outputs: tuple[int, ...]

    @property
    def adds(self) -> int:
        """Additions and subtractions."""
        return sum(step.cb != 0 for step in self.steps)

    @property
    def multiplies(self) -> int:
        """Multiplications by a constant other than 0 and +-1."""
        return sum(abs(c) not in (0, 1) for step in self.steps for c in (step.ca, step.cb))

    def matrix(self) -> ExactMatrix:
        """What the steps compute, exactly."""
        values = [[Fraction(i == k) for k in range(self.inputs)] for i in range(self.inputs)]
        for s in self.steps:
            values.append([s.ca * u + s.cb * v for u, v in zip(values[s.a], values[s.b], strict=True)])
        return exact([values[index] for index in self.outputs])

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The transform of the first axis of x, every step rounded in x's own dtype."""
        values = list(x)
        for step in self.steps:
            found = _times(step.ca, values[step.a])
            values.append(found + _times(step.cb, values[step.b]) if step.cb else found)
        return np.stack([values[index] for index in self.outputs])

    def roundings(self) -> int:
        """The largest number of roundings between an input and an output; a coefficient that binary fractions cannot
        hold counts one more."""
        depth = [0] * self.inputs
        for s in self.steps:
            arms = [depth[v] + _roundings(c) for c, v in ((s.ca, s.a), (s.cb, s.b)) if c]
            depth.append(max(arms, default=0) + (s.cb != 0))
        return max((depth[index] for index in self.outputs), default=0)


def straight_line(matrix: ExactMatrix) -> StraightLine:
    """Few additions that compute matrix @ x; `StraightLine.matrix()` proves it.

    A matrix of integers gets steps of integers, for integer data; else one coefficient of a step is 1 where it can be,
    so that a step is one fused multiply-add.
    """
    builder = _Builder(matrix.shape[1], integer=matrix.denominator == 1)
    # Integers until the end: the common denominator is given back to each row when it is summed.
    rows = [{k: c for k, c in enumerate(row) if c} for row in matrix.numerators.tolist()]
    _share(rows, builder)
    outputs = tuple(_chain(row, matrix.denominator, builder) for row in rows)
    return StraightLine(matrix.shape[1], tuple(builder.steps), outputs)


@dataclass
class _Builder:
    """The steps so far; the same step is never made twice."""

    inputs: int
    integer: bool
    steps: list[Step] = field(default_factory=list)
    known: dict[Step, int] = field(default_factory=dict)

    def step(self, ca: Fraction, a: int, cb: Fraction, b: int) -> int:
        made = Step(ca, a, cb, b)
        if made not in self.known:
            self.known[made] = self.inputs + len(self.steps)
            self.steps.append(made)
        return self.known[made]


def _share(rows: Sequence[Row], builder: _Builder) -> None:
    """Replace, most frequent first, every pair of terms that occurs in several rows by one new value."""
    users: dict[Pair, set[int]] = defaultdict(set)
    for index, row in enumerate(rows):
        for pair in _pairs(row, row):
            users[pair].add(index)
    waiting = [_priority(pair, len(found)) for pair, found in users.items() if len(found) > 1]
    heapify(waiting)
    while waiting:
        count, _, best = heappop(waiting)
        if len(users[best]) != -count:  # an entry from before some of its rows changed
            continue
        a, b, p, q = best
        unit = 1 if builder.integer else p
        value = builder.step(Fraction(p, unit), a, Fraction(q, unit), b)
        changed = set()
        for index in sorted(users[best]):
            row = rows[index]
            for pair in _pairs(row, (a, b)):
                users[pair].discard(index)
                changed.add(pair)
            row[value] = row.pop(a) * unit // p
            del row[b]
            for pair in _pairs(row, (value,)):
                users[pair].add(index)
                changed.add(pair)
        for pair in changed:
            if len(users[pair]) > 1:
                heappush(waiting, _priority(pair, len(users[pair])))


def _priority(pair: Pair, count: int) -> tuple[int, int, Pair]:
    """The smallest is taken first: most rows, then smallest coefficients."""
    return -count, pair[2] + abs(pair[3]), pair


def _pairs(row: Row, touching: Sequence[int] | Row) -> set[Pair]:
    """All pairs of terms of a row in which one of the named values takes part."""
    ordered = {(min(one, other), max(one, other)) for one in touching for other in row if one != other}
    return {_pair(a, b, row[a], row[b]) for a, b in ordered}


def _pair(a: int, b: int, ca: int, cb: int) -> Pair:
    common = gcd(ca, cb) if ca > 0 else -gcd(ca, cb)
    return a, b, ca // common, cb // common


def _chain(row: Row, denominator: int, builder: _Builder) -> int:
    """The value of a row: terms of equal size are added first, so that they share one multiplication."""
    groups: dict[Fraction, list[Term]] = defaultdict(list)
    for value, c in row.items():
        groups[Fraction(abs(c), denominator)].append((Fraction(1 if c > 0 else -1), value))
    if not groups:
        return builder.step(Fraction(0), 0, Fraction(0), 0)
    terms = []
    for size in sorted(groups, key=lambda size: (size != 1, -size)):
        sign, value = _tree(groups[size], builder)
        terms.append((sign * size, value))
    c, value = terms[0]
    for ca, a in terms[1:]:
        c, value = Fraction(1), builder.step(ca, a, c, value)
    return value if c == 1 else builder.step(c, value, Fraction(0), value)


def _tree(terms: list[Term], builder: _Builder) -> Term:
    """A sum of terms +-1 times a value, pairwise, so that it is short and rounds little."""
    while len(terms) > 1:
        pairs = zip(terms[0::2], terms[1::2], strict=False)
        terms = [_joined(*pair, builder) for pair in pairs] + ([terms[-1]] if len(terms) % 2 else [])
    return terms[0]


def _joined(one: Term, two: Term, builder: _Builder) -> Term:
    (ca, a), (cb, b) = sorted((one, two), key=lambda term: term[0] < 0)
    return ca, builder.step(Fraction(1), a, cb / ca, b)


def _roundings(c: Fraction) -> int:
    if abs(c) in (0, 1):
        return 0
    if c.denominator & (c.denominator - 1) or abs(c.numerator).bit_length() > SHORT_BITS:
        return 2
    return int(abs(c.numerator) & (abs(c.numerator) - 1) != 0)


def _times(c: Fraction, x: np.ndarray) -> np.ndarray:
    return x if c == 1 else -x if c == -1 else x * x.dtype.type(float(c))
