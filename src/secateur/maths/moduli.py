"""Polynomial generator: the co-prime moduli an algorithm is made of (US20180349317A1).

The published family is x, x^n - 1 and x^n + 1; plain points x - p are offered beside it, so that the algorithms of
Toom, Cook, Winograd and Lavin come out of the same generator. The point at infinity supplies the last condition.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import combinations

from secateur.errors import AlgorithmError
from secateur.maths.polynomial import ONE, Polynomial, X, common_factor, parse, polynomial, power, product

INFINITY = "inf"
Point = int | str | Fraction


@dataclass(frozen=True)
class Field:
    """Q[x] modulo an irreducible polynomial.

    order   d where the polynomial is the d-th cyclotomic one, whose roots are the primitive d-th roots of unity; 0 for
            x - p and the point at infinity, where the field is Q itself
    """

    polynomial: Polynomial
    order: int = 0

    @property
    def degree(self) -> int:
        """Its dimension over Q."""
        return self.polynomial.degree


@dataclass(frozen=True)
class Moduli:
    """Co-prime polynomials and perhaps the point at infinity: together as many conditions as outputs + taps - 1."""

    polynomials: tuple[Polynomial, ...]
    infinity: bool

    @property
    def conditions(self) -> int:
        """The number of coefficients of a product that they determine."""
        return sum(p.degree for p in self.polynomials) + self.infinity

    def __str__(self) -> str:
        return ", ".join([*map(str, self.polynomials), *[INFINITY] * self.infinity])


def polynomial_generator(moduli: str | Iterable[str | Polynomial], outputs: int, taps: int) -> Moduli:
    """The moduli in a text "x, x^6-1" or a list, checked for F(outputs, taps).

    The point at infinity is added where exactly one condition is missing. AlgorithmError names the common factor of
    two moduli, a modulus outside the family, or how many conditions are missing or too many.
    """
    parts = moduli.split(",") if isinstance(moduli, str) else list(moduli)
    words = [part.strip().lower() if isinstance(part, str) else part for part in parts]
    infinities = sum(word == INFINITY for word in words)
    if infinities > 1:
        raise AlgorithmError("the point at infinity is repeated: name it once")
    polynomials = tuple(parse(w) if isinstance(w, str) else w for w in words if w != INFINITY)
    for one in polynomials:
        fields(one)
    check_coprime(polynomials)
    need, given = outputs + taps - 1, sum(p.degree for p in polynomials)
    infinity = bool(infinities) or given == need - 1
    if given + infinity != need:
        named = f"{', '.join(map(str, polynomials)) or 'nothing'}{', inf' * bool(infinities)}"
        raise AlgorithmError(
            f"F({outputs},{taps}) needs degrees that sum to {need - 1} with the point at infinity, or to {need} "
            f"without; those of {named} sum to {given}"
        )
    return Moduli(polynomials, infinity)


def moduli_of_points(points: Iterable[Point]) -> tuple[str | Polynomial, ...]:
    """x - p for every point: an integer, a Fraction, a text like "3/5", or "inf".

    AlgorithmError for a float (0.6 is not 3/5) or a point named twice.
    """
    found: list[str | Polynomial] = []
    for point in points:
        if isinstance(point, str) and point.strip().lower() == INFINITY:
            one: str | Polynomial = INFINITY
        else:
            one = polynomial([-_rational(point), 1])
        if one in found:
            raise AlgorithmError(f"the point {point} is repeated: every point gives one condition, name each once")
        found.append(one)
    return tuple(found)


@lru_cache(maxsize=256)
def check_coprime(polynomials: tuple[Polynomial, ...]) -> None:
    """AlgorithmError with the common factor unless every two are co-prime; decided exactly, by Euclid."""
    for a, b in combinations(polynomials, 2):
        shared = common_factor(a, b)
        if shared != ONE:
            what = "is repeated" if a == b else f"and {b} share the factor {shared}"
            raise AlgorithmError(f"moduli must be co-prime: {a} {what}; drop one of the two")


@lru_cache(maxsize=256)
def fields(modulus: Polynomial) -> tuple[Field, ...]:
    """The irreducible factors of x, x - p, x^n - 1 or x^n + 1, exactly: cyclotomic polynomials. AlgorithmError for a
    polynomial outside the family."""
    n = modulus.degree
    if n == 1 and modulus.coefficients[1] == 1:
        return (Field(modulus, {Fraction(-1): 1, Fraction(1): 2}.get(modulus.coefficients[0], 0)),)
    if n > 1 and modulus == power(n) - ONE:
        return tuple(Field(cyclotomic(d), d) for d in _divisors(n))
    if n > 1 and modulus == power(n) + ONE:
        return tuple(Field(cyclotomic(d), d) for d in _divisors(2 * n) if n % d)
    raise AlgorithmError(f"{modulus} is not in the family: a modulus is x, x^n-1, x^n+1, or a point written x-p")


@lru_cache(maxsize=256)
def cyclotomic(order: int) -> Polynomial:
    """The polynomial whose roots are the primitive roots of unity of this order: x^n - 1 is the product of those of
    all divisors of n."""
    below = product(cyclotomic(d) for d in _divisors(order) if d < order)
    return (power(order) - ONE) // below


def _divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]


def _rational(point: Point) -> Fraction:
    if isinstance(point, (int, Fraction)) and not isinstance(point, bool):
        return Fraction(point)
    if isinstance(point, str):
        try:
            return Fraction(point)
        except (ValueError, ZeroDivisionError):
            pass
    raise AlgorithmError(f"{point!r} is no exact point: use an integer, a Fraction, or text like '3/5' or 'inf'")


LINE = Field(X)
"""The field of a point: Q, one product."""
