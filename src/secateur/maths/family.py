"""The family: every set of co-prime moduli of a given degree, and which of them are worth considering."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product as combinations_of

from secateur.maths.field_splitting import products_of
from secateur.maths.moduli import LINE, Field, Moduli, fields, polynomial_generator
from secateur.maths.points import good_points

FILLING = (2, -2, "1/2", "-1/2")
"""Points that fill up a set of the family that is too short."""


def coprime_sets(degree: int) -> Iterator[tuple[str, ...]]:
    """All sets of x, x^n - 1 and x^n + 1 whose degrees sum to `degree` and of which every two are co-prime.

    At most one x^n - 1; gcd(x^a - 1, x^b + 1) = 1 iff v(a) <= v(b), gcd(x^a + 1, x^b + 1) = 1 iff v(a) != v(b), where v
    is the exponent of 2. `polynomial_generator` decides the same by Euclid.
    """
    elements = [(sign, n) for sign in ("-", "+") for n in range(1, degree + 1)]
    for x in (0, 1):
        for chosen in _extended((), elements, degree - x):
            yield (*["x"] * x, *(f"x^{n}{sign}1" for sign, n in chosen))


def _extended(
    chosen: tuple[tuple[str, int], ...], elements: list[tuple[str, int]], degree: int
) -> Iterator[tuple[tuple[str, int], ...]]:
    if degree == 0:
        yield chosen
    for index, (sign, n) in enumerate(elements):
        if n <= degree and all(_coprime(one, (sign, n)) for one in chosen):
            yield from _extended((*chosen, (sign, n)), elements[index + 1 :], degree - n)


def _coprime(one: tuple[str, int], two: tuple[str, int]) -> bool:
    (sign, a), (other, b) = sorted((one, two), reverse=True)  # "-" sorts after "+"
    if sign == other:
        return sign == "+" and _twos(a) != _twos(b)
    return _twos(a) <= _twos(b)


def _twos(n: int) -> int:
    return (n & -n).bit_length() - 1


def candidates(outputs: int, taps: int) -> list[Moduli]:
    """Moduli for F(outputs, taps), each set of fields once: the good points, the usual points, and every co-prime set
    of the family, filled up with points where it is short."""
    inputs = outputs + taps - 1
    texts = [(*(f"x-{p}".replace("--", "+") if p else "x" for p in good_points(outputs, taps)), "inf")]
    for degree in range(1, inputs + 1):
        missing = inputs - degree
        filling = [f"x-{p}".replace("--", "+") for p in FILLING[: max(0, missing - 1)]]
        if len(filling) >= missing - 1:
            ends = (*filling, *["inf"] * (missing > 0))
            texts += [(*chosen, *ends) for chosen in coprime_sets(degree)]
    found: dict[frozenset[object], Moduli] = {}
    for text in texts:
        moduli = polynomial_generator(text, outputs, taps)
        found.setdefault(frozenset([*fields_of(moduli), moduli.infinity]), moduli)
    return list(found.values())


def fields_of(moduli: Moduli) -> tuple[Field, ...]:
    """Every field, the point at infinity as a line."""
    return tuple(f for p in moduli.polynomials for f in fields(p)) + (LINE,) * moduli.infinity


def count_products(axes: list[Moduli]) -> int:
    """The products of an algorithm over these dimensions, without making it; in two dimensions fields split.

    At most: where taps are few, some products of a field see none and are dropped.
    """
    split = len(axes) == 2
    return sum(products_of(chosen, split=split).products for chosen in combinations_of(*map(fields_of, axes)))
