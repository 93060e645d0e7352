"""Polynomials over the rationals: exact division, common factors, and the text form people write, "x^6-1"."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from secateur.errors import AlgorithmError

MOST_DEGREE = 64
"""What `parse` takes; an algorithm for longer tiles would be nested from shorter ones."""

_TERM = re.compile(r"([+-]?)(\d+(?:/\d+)?)?\*?(x(?:\^(\d+))?)?")


@dataclass(frozen=True)
class Polynomial:
    """coefficients[k] belongs to x^k; the last is not 0, and the zero polynomial has none."""

    coefficients: tuple[Fraction, ...]

    @property
    def degree(self) -> int:
        """The highest power; -1 for the zero polynomial."""
        return len(self.coefficients) - 1

    def padded(self, length: int) -> list[Fraction]:
        """The coefficients of x^0 .. x^(length - 1); the degree must be below length."""
        return [*self.coefficients, *[Fraction(0)] * (length - len(self.coefficients))]

    def monic(self) -> Polynomial:
        """Divided by its leading coefficient."""
        return polynomial(c / self.coefficients[-1] for c in self.coefficients)

    def __add__(self, other: Polynomial) -> Polynomial:
        length = max(len(self.coefficients), len(other.coefficients))
        return polynomial(a + b for a, b in zip(self.padded(length), other.padded(length), strict=True))

    def __sub__(self, other: Polynomial) -> Polynomial:
        return self + polynomial(-c for c in other.coefficients)

    def __mul__(self, other: Polynomial) -> Polynomial:
        found = [Fraction(0)] * (len(self.coefficients) + len(other.coefficients))
        for i, a in enumerate(self.coefficients):
            for j, b in enumerate(other.coefficients if a else ()):
                found[i + j] += a * b
        return polynomial(found)

    def __divmod__(self, other: Polynomial) -> tuple[Polynomial, Polynomial]:
        """Quotient and remainder; ZeroDivisionError for the zero polynomial."""
        if not other.coefficients:
            raise ZeroDivisionError("division by the zero polynomial")
        rest = list(self.coefficients)
        quotient = [Fraction(0)] * max(0, len(rest) - other.degree)
        for shift in reversed(range(len(quotient))):
            if rest[shift + other.degree]:
                factor = quotient[shift] = rest[shift + other.degree] / other.coefficients[-1]
                for k, c in enumerate(other.coefficients):
                    if c:
                        rest[shift + k] -= factor * c
        return polynomial(quotient), polynomial(rest[: max(0, other.degree)])

    def __mod__(self, other: Polynomial) -> Polynomial:
        return divmod(self, other)[1]

    def __floordiv__(self, other: Polynomial) -> Polynomial:
        return divmod(self, other)[0]

    def __str__(self) -> str:
        terms = [_term(c, k) for k, c in reversed(list(enumerate(self.coefficients))) if c]
        return "".join(terms).removeprefix("+") or "0"


def polynomial(coefficients: Iterable[int | Fraction]) -> Polynomial:
    """The polynomial with these coefficients of x^0, x^1, ...; zeros at the end are dropped."""
    found = [c if isinstance(c, Fraction) else Fraction(c) for c in coefficients]
    while found and not found[-1]:
        found.pop()
    return Polynomial(tuple(found))


ONE = polynomial([1])
X = polynomial([0, 1])


def power(exponent: int) -> Polynomial:
    """x^exponent."""
    return polynomial([*[0] * exponent, 1])


def product(factors: Iterable[Polynomial]) -> Polynomial:
    """All factors multiplied; 1 where there are none."""
    found = ONE
    for factor in factors:
        found = found * factor
    return found


def common_factor(a: Polynomial, b: Polynomial) -> Polynomial:
    """The monic greatest common divisor (Euclid); 1 means co-prime."""
    while b.coefficients:
        a, b = b, a % b
    return a.monic()


def inverse(a: Polynomial, modulus: Polynomial) -> Polynomial:
    """The b with a b = 1 modulo `modulus` (extended Euclid); AlgorithmError where a common factor forbids it."""
    old, new, rest, divisor = ONE, polynomial([]), a % modulus, modulus
    while divisor.coefficients:
        quotient, remainder = divmod(rest, divisor)
        old, new, rest, divisor = new, old - quotient * new, divisor, remainder
    if rest.degree != 0:
        raise AlgorithmError(f"{a} has no inverse modulo {modulus}: both are multiples of {rest.monic()}")
    return polynomial(c / rest.coefficients[0] for c in old.coefficients) % modulus


def parse(text: str) -> Polynomial:
    """The polynomial in a text like "x", "x^6-1", "x-3/5" or "2x^2+x"; AlgorithmError for anything else."""
    compact = re.sub(r"\s*([-+])\s*", r"\1", text.strip())
    found, at = polynomial([]), 0
    while at < len(compact):
        match = _TERM.match(compact, at)
        if match is None or match.end() == at or not (match[2] or match[3]) or (at and not match[1]):
            break
        exponent = int(match[4] or 1) if match[3] else 0
        if exponent > MOST_DEGREE or len(compact) > 200:
            raise AlgorithmError(f"{text[:40]!r} is too long: polynomials up to degree {MOST_DEGREE} are read")
        try:
            number = Fraction(match[1] + (match[2] or "1"))
        except ZeroDivisionError:
            raise AlgorithmError(f"{text!r} divides by zero") from None
        found, at = found + polynomial([*[0] * exponent, number]), match.end()
    if at < len(compact) or not compact:
        raise AlgorithmError(f"{text[:80]!r} is no polynomial: write it like x, x^6-1, x^2+1 or x-3/5")
    return found


def _term(c: Fraction, k: int) -> str:
    sign, size = ("-", -c) if c < 0 else ("+", c)
    number = "" if size == 1 and k else str(size)
    return sign + number + ("x" if k else "") + (f"^{k}" if k > 1 else "")
