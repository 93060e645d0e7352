"""maths.product_rows: every set of rows proved by its equations, the stored ones also by searching again."""

from itertools import combinations, islice, product

import numpy as np
import pytest

from secateur.maths.exact_matrix import exact
from secateur.maths.moduli import Field, cyclotomic
from secateur.maths.polynomial import parse, power
from secateur.maths.product_rows import (
    KARATSUBA,
    NONE_FEWER,
    ROWS,
    SEARCHED,
    WINOGRAD,
    field_rows,
    karatsuba,
    product_rows,
    solved_columns,
)


def is_product(p, q, modulus):
    """sum_j q_oj p_ja p_jb = [x^o] (x^(a+b) mod m), for all o, a, b: exactly."""
    n = modulus.degree
    rows = p.rows()
    both = exact([[row[a] * row[b] for row in rows] for a in range(n) for b in range(n)])
    wanted = exact([(power(a + b) % modulus).padded(n) for a in range(n) for b in range(n)])
    return both @ q.transposed() == wanted


@pytest.mark.parametrize("sign", "-+")
@pytest.mark.parametrize("n", range(1, 14))
def test_rows_of_the_family_give_the_product(n, sign):
    modulus = parse(f"x^{n}{sign}1")
    found = product_rows(modulus)
    assert is_product(found.p, found.q, modulus)
    assert found.products >= found.bound
    assert (found.products == found.bound) == (found.known == WINOGRAD)


def test_the_proof_can_fail():
    found = product_rows(parse("x^2+1"))
    assert not is_product(found.p, found.q, parse("x^2-1"))


@pytest.mark.parametrize(
    ("modulus", "products", "known"),
    [
        ("x", 1, WINOGRAD),
        ("x-3/5", 1, WINOGRAD),
        ("x^2-1", 2, WINOGRAD),
        ("x^2+1", 3, WINOGRAD),
        ("x^3-1", 4, WINOGRAD),
        ("x^3+1", 4, WINOGRAD),
        ("x^4-1", 5, WINOGRAD),
        ("x^4+1", 8, SEARCHED),
        ("x^5-1", 10, SEARCHED),
        ("x^6-1", 8, WINOGRAD),
        ("x^6+1", 11, SEARCHED),
        ("x^7-1", 19, KARATSUBA),
    ],
)
def test_numbers_of_products(modulus, products, known):
    found = product_rows(parse(modulus))
    assert (found.products, found.known) == (products, known)


@pytest.mark.parametrize("length", range(1, 14))
def test_karatsuba_multiplies_polynomials(length):
    p, q = karatsuba(length)
    random = np.random.default_rng(length)
    a, b = random.integers(-9, 10, (2, length))
    p, q = np.asarray(p), np.asarray(q)
    np.testing.assert_array_equal(q @ ((p @ a) * (p @ b)), np.convolve(a, b))
    assert set(np.unique(p)) <= {0, 1}


def test_rows_that_do_not_suffice_are_refused():
    assert solved_columns(exact([[1, 0], [0, 1]]), parse("x^2+1")) is None


def rows_of(size):
    """All rows of -1, 0, 1 up to sign."""
    return np.array([row for row in product((-1, 0, 1), repeat=size) if next((v for v in row if v), 0) > 0])


def solutions(order, k):
    """All sets of rows of -1, 0, 1 whose k squares p p' span the products modulo the cyclotomic polynomial.

    Modulo the n products wanted, the squares of such a set lie in a space of k - n dimensions, which k - n of them span
    (Barbulescu, Detrey, Estibals and Zimmermann, "Finding optimal formulae for bilinear maps", 2012): so all choices of
    k - n rows are gone through, each with all rows whose squares lie in the space.
    """
    modulus = cyclotomic(order)
    n = modulus.degree
    pairs = [(a, b) for a in range(n) for b in range(a, n)]
    targets = np.array([[float(c) for c in (power(a + b) % modulus).padded(n)] for a, b in pairs])
    given = rows_of(n)
    squares = np.array([[row[a] * row[b] for a, b in pairs] for row in given], float)
    beyond = np.linalg.svd(targets.T)[2][n:]  # functionals that vanish on the products wanted
    reduced = squares @ beyond.T
    found = set()
    choices = combinations(range(len(given)), k - n)
    while chosen := list(islice(choices, 20000)):
        basis, r = np.linalg.qr(np.swapaxes(reduced[np.array(chosen)], 1, 2))
        good = abs(np.diagonal(r, axis1=1, axis2=2)).min(1) > 1e-6
        projected = reduced[None] @ basis[good]
        outside = (reduced**2).sum(1) - (projected**2).sum(2)
        for inside in np.unique(outside < 1e-6, axis=0):
            if inside.sum() >= k:
                rank = np.linalg.matrix_rank(squares[inside])
                if rank == k == np.linalg.matrix_rank(np.vstack([squares[inside], targets.T])):
                    found.add(tuple(np.flatnonzero(inside)))
    return given, found


@pytest.mark.parametrize("order", [3, 4, 6])
def test_stored_rows_of_degree_2_reach_the_bound(order):
    given, found = solutions(order, 3)
    stored = {tuple(row) for row in ROWS[order]}
    assert any(stored <= {tuple(given[index].tolist()) for index in one} for one in found)


@pytest.mark.parametrize("order", [5, 8, 10, 12])
def test_no_7_rows_of_small_integers_exist_in_degree_4(order):
    assert solutions(order, 7)[1] == set()


@pytest.mark.slow
def test_no_8_rows_exist_where_karatsuba_is_used_in_degree_4():
    """Order 10 is order 5 with x -> -x, which maps rows of -1, 0, 1 onto such rows."""
    assert NONE_FEWER == (5, 10)
    assert solutions(5, 8)[1] == set()
    flipped = [c * (-1) ** k for k, c in enumerate(cyclotomic(5).coefficients)]
    assert list(cyclotomic(10).coefficients) == flipped


@pytest.mark.parametrize("order", [8, 12])
def test_the_stored_8_rows_solve_degree_4(order):
    p = exact(ROWS[order])
    q = solved_columns(p, cyclotomic(order))
    assert q is not None
    assert is_product(p, q, cyclotomic(order))


def test_a_field_without_a_search_says_so():
    assert field_rows(Field(cyclotomic(7), 7)).known == KARATSUBA
