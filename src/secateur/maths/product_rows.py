"""The products of a multiplication modulo a polynomial: rows p_j and columns q_j with

    s = g d mod m,    s_o = sum_j q_oj (p_j . g) (p_j . d).

Winograd ("Some bilinear forms whose multiplicative complexity depends on the field of constants", Mathematical Systems
Theory 10, 1977): over the rationals 2 deg(m) - (number of irreducible factors) products are necessary. `bound` is that
number. It is reached with small integer rows up to degree 3 of a cyclotomic field and less; beyond, rows of -1, 0 and 1
found by exhaustive search are stored, and where no search ends rows come from nested Karatsuba ("Multiplication of
multidigit numbers on automata", 1963) and are marked as not minimal.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from secateur.maths.exact_matrix import ExactMatrix, block_diagonal, exact, identity, solve, stacked
from secateur.maths.moduli import Field, fields
from secateur.maths.polynomial import Polynomial, inverse, polynomial, power

WINOGRAD = "minimal over the rationals (Winograd's bound)"
SEARCHED = "fewest with rows of -1, 0 and 1 (exhaustive search)"
KARATSUBA = "not minimal (nested Karatsuba)"

ROWS: dict[int, tuple[tuple[int, ...], ...]] = {
    3: ((1, 0), (0, 1), (1, -1)),
    4: ((1, 0), (0, 1), (1, 1)),
    6: ((1, 0), (0, 1), (1, 1)),
    8: (
        (0, 0, 0, 1),
        (0, 0, 1, -1),
        (0, 1, 0, 0),
        (1, -1, -1, 1),
        (1, 0, -1, 0),
        (1, 0, 1, 0),
        (1, 1, 0, 0),
        (1, 1, 1, 1),
    ),
    12: (
        (0, 0, 1, -1),
        (0, 0, 1, 1),
        (0, 1, 1, 0),
        (1, -1, 0, 0),
        (1, 0, 0, 1),
        (1, 0, 1, 1),
        (1, 1, 0, 0),
        (1, 1, 0, 1),
    ),
}
"""Order of a cyclotomic field -> rows; tests prove them and repeat the search."""

NONE_FEWER = (5, 10)
"""Orders for which the search shows that no set of -1, 0 and 1 has fewer rows than Karatsuba."""

THREE = (
    ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1)),
    ((1, 0, 0, 0, 0, 0), (-1, -1, 0, 1, 0, 0), (-1, 1, -1, 0, 1, 0), (0, -1, -1, 0, 0, 1), (0, 0, 1, 0, 0, 0)),
)
"""Rows p and columns q for polynomials of three coefficients."""


@dataclass(frozen=True)
class ProductRows:
    """p (products x degree) and q (degree x products) for one modulus, and what is known about their number."""

    p: ExactMatrix
    q: ExactMatrix
    known: str
    bound: int

    @property
    def products(self) -> int:
        """Multiplications of two numbers."""
        return self.p.shape[0]


@lru_cache(maxsize=256)
def field_rows(field: Field) -> ProductRows:
    """The products of one field, proved where they are made: q solves the defining equations exactly."""
    n = field.degree
    bound = 2 * n - 1
    if n == 1:
        return ProductRows(identity(1), identity(1), WINOGRAD, bound)
    if field.order in ROWS:
        p = exact(ROWS[field.order])
        q = solved_columns(p, field.polynomial)
        if q is None:
            raise AssertionError(f"the stored rows of {field.polynomial} do not give its product")
        return ProductRows(p, q, WINOGRAD if p.shape[0] == bound else SEARCHED, bound)
    p, whole = karatsuba(n)
    known = SEARCHED if field.order in NONE_FEWER else KARATSUBA
    return ProductRows(p, remainder_matrix(field.polynomial, 2 * n - 1) @ whole, known, bound)


def product_rows(modulus: Polynomial) -> ProductRows:
    """The products for x, x - p, x^n - 1 or x^n + 1: those of its fields, joined by the Chinese remainder theorem."""
    parts = [(field, field_rows(field)) for field in fields(modulus)]
    p = stacked([rows.p @ remainder_matrix(field.polynomial, modulus.degree) for field, rows in parts])
    q = stacked([idempotent_columns(field, modulus).transposed() for field, _ in parts]).transposed() @ block_diagonal(
        [r.q for _, r in parts]
    )
    worst = max((rows.known for _, rows in parts), key=(WINOGRAD, SEARCHED, KARATSUBA).index)
    return ProductRows(p, q, worst, sum(rows.bound for _, rows in parts))


def solved_columns(p: ExactMatrix, modulus: Polynomial) -> ExactMatrix | None:
    """The q that makes rows p compute the product modulo `modulus`; None where there is none."""
    n = modulus.degree
    pairs = [(a, b) for a in range(n) for b in range(a, n)]
    rows = p.rows()
    left = exact([[row[a] * row[b] for row in rows] for a, b in pairs])
    right = exact([(power(a + b) % modulus).padded(n) for a, b in pairs])
    found = solve(left, right)
    return None if found is None else found.transposed()


def karatsuba(length: int) -> tuple[ExactMatrix, ExactMatrix]:
    """Rows p and columns q for the product of two polynomials of `length` coefficients, of rows of 0 and 1.

    Halves a + x^h b: a a', b b' and (a + b)(a' + b') - a a' - b b', the same again for each of the three; three terms
    by all squares and sums of two, 6 products, where halves would take 7.
    """
    if length == 1:
        return identity(1), identity(1)
    if length == 3:
        return exact(THREE[0]), exact(THREE[1])
    low = (length + 1) // 2
    high = length - low
    (p_low, q_low), (p_high, q_high) = karatsuba(low), karatsuba(high)
    k, k_high = p_low.shape[0], p_high.shape[0]
    p, q = [[0] * length for _ in range(2 * k + k_high)], [[0] * (2 * k + k_high) for _ in range(2 * length - 1)]
    for j, row in enumerate(p_low.numerators.tolist()):
        for i, entry in enumerate(row):
            p[j][i] = p[k + k_high + j][i] = entry
            if i < high:
                p[k + k_high + j][low + i] = entry
    for j, row in enumerate(p_high.numerators.tolist()):
        p[k + j][low : low + high] = row
    for o, row in enumerate(q_low.numerators.tolist()):
        for j, entry in enumerate(row):
            q[o][j] += entry
            q[o + low][j] -= entry
            q[o + low][k + k_high + j] += entry
    for o, row in enumerate(q_high.numerators.tolist()):
        for j, entry in enumerate(row):
            q[o + 2 * low][k + j] += entry
            q[o + low][k + j] -= entry
    return exact(p), exact(q)


@lru_cache(maxsize=1024)
def remainder_matrix(modulus: Polynomial, length: int) -> ExactMatrix:
    """degree x length: the coefficients of a polynomial of `length` coefficients modulo `modulus`."""
    return exact([(power(k) % modulus).padded(modulus.degree) for k in range(length)]).transposed()


def idempotent_columns(field: Field, modulus: Polynomial) -> ExactMatrix:
    """degree(modulus) x degree(field): x^j E mod `modulus`, where E is 1 modulo the field and 0 modulo the rest."""
    rest = modulus // field.polynomial
    unit = rest * inverse(rest, field.polynomial)
    powers = [(polynomial([*[0] * j, 1]) * unit) % modulus for j in range(field.degree)]
    return exact([one.padded(modulus.degree) for one in powers]).transposed()


def product_matrix(modulus: Polynomial, d: list[int]) -> ExactMatrix:
    """The matrix D with s = D g for s = g d mod `modulus`: circulant for x^n - 1, skew-circulant for x^n + 1."""
    by_d = polynomial(d)
    n = modulus.degree
    return exact([((power(k) * by_d) % modulus).padded(n) for k in range(n)]).transposed()
