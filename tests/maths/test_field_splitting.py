"""maths.field_splitting: products of an algebra of two fields, proved by its multiplication; copies as theory says."""

from math import gcd

import pytest

from secateur.maths.exact_matrix import ExactMatrix, exact
from secateur.maths.field_splitting import products_of, splitting
from secateur.maths.moduli import LINE, Field, cyclotomic
from secateur.maths.polynomial import power

ORDERS = (3, 4, 5, 6, 8, 12)
PAIRS = [(a, b) for a in ORDERS for b in ORDERS if a <= b]


def field(order):
    return Field(cyclotomic(order), order)


def totient(n):
    return sum(gcd(k, n) == 1 for k in range(1, n + 1))


def table(one, two) -> ExactMatrix:
    """Coordinates of every product of two basis elements x^i y^j of Q[x, y] modulo both polynomials."""
    basis = [(i, j) for i in range(one.degree) for j in range(two.degree)]
    rows = []
    for a in basis:
        for b in basis:
            x = (power(a[0] + b[0]) % one.polynomial).padded(one.degree)
            y = (power(a[1] + b[1]) % two.polynomial).padded(two.degree)
            rows.append([u * v for u in x for v in y])
    return exact(rows)


@pytest.mark.parametrize("split", [True, False])
@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_products_multiply_in_the_algebra(a, b, split):
    one, two = field(a), field(b)
    found = products_of((one, two), split=split)
    rows = found.p.rows()
    size = len(rows[0])
    both = exact([[row[i] * row[j] for row in rows] for i in range(size) for j in range(size)])
    assert both @ found.q.transposed() == table(one, two)


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_copies_of_the_larger_field(a, b):
    target, forward = splitting(field(a), field(b))
    order = a * b // gcd(a, b)
    assert target.order == order
    assert forward.shape[0] == totient(a) * totient(b) == forward.shape[1]
    split, nested = (products_of((field(a), field(b)), split=choice).products for choice in (True, False))
    assert split <= nested


@pytest.mark.parametrize(("a", "b", "products"), [(4, 4, 6), (3, 3, 6), (3, 6, 6), (4, 8, 16), (3, 4, 8), (8, 8, 32)])
def test_numbers_of_products(a, b, products):
    assert products_of((field(a), field(b)), split=True).products == products


def test_a_line_beside_changes_nothing():
    plain = products_of((field(4),), split=True)
    assert products_of((LINE, field(4)), split=True) == plain
    assert products_of((field(4), LINE, field(4)), split=True) == products_of((field(4), field(4)), split=True)
