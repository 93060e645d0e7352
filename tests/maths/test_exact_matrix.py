"""maths.exact_matrix: arithmetic against Fractions, one form for equal matrices, exact solutions."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.maths.exact_matrix import block_diagonal, exact, identity, solve, stacked, zeros

small = st.builds(Fraction, st.integers(-9, 9), st.integers(1, 4))


def matrices(rows, columns):
    row = st.lists(small, min_size=columns, max_size=columns)
    return st.lists(row, min_size=rows, max_size=rows).map(exact)


def times(a, b):
    return [
        [sum((x * y for x, y in zip(row, col, strict=True)), Fraction(0)) for col in zip(*b, strict=True)] for row in a
    ]


@given(matrices(3, 4), matrices(4, 2))
def test_product_equals_that_of_fractions(a, b):
    assert (a @ b).rows() == times(a.rows(), b.rows())


def test_products_beyond_64_bits_are_exact():
    big = exact([[2**62, 1]])
    assert (big @ big.transposed())[0, 0] == 2**124 + 1


@given(matrices(2, 3))
def test_equal_matrices_are_equal_and_hash_equal(a):
    again = exact([[2 * entry for entry in row] for row in a.rows()]).scaled_rows([Fraction(1, 2), Fraction(1, 2)])
    assert again == a
    assert hash(again) == hash(a)
    assert a != exact([[entry + 1 for entry in row] for row in a.rows()])
    assert a != "a matrix"


@given(matrices(2, 2), matrices(2, 3))
def test_kron_transposition_and_stacking(a, b):
    np.testing.assert_allclose(np.asarray(a.kron(b)), np.kron(np.asarray(a), np.asarray(b)))
    assert a.transposed().transposed() == a
    both = np.asarray(block_diagonal([a, b]))
    np.testing.assert_array_equal(both[:2, :2], np.asarray(a))
    np.testing.assert_array_equal(both[2:, 2:], np.asarray(b))
    assert not both[:2, 2:].any()
    assert stacked([b, b]).rows() == b.rows() * 2
    assert b.chosen_rows([1]).rows() == b.rows()[1:]


def test_rounding_to_floats_is_once():
    third = exact([[Fraction(1, 3), Fraction(10**40 + 1, 3 * 10**40)]])
    assert np.asarray(third, np.float64).tolist() == [[1 / 3, 1 / 3]]
    assert np.asarray(third, np.float32).dtype == np.float32


def test_content():
    matrix = exact([[Fraction(4, 3), Fraction(-2, 3)], [0, 0]])
    assert matrix.content(0) == Fraction(2, 3)
    assert matrix.content(1) == 1


@given(matrices(3, 3), matrices(3, 2))
def test_solve(a, x):
    found = solve(a, a @ x)
    assert found is not None
    assert a @ found == a @ x


def test_solve_says_when_there_is_no_solution():
    assert solve(exact([[1, 1], [2, 2]]), exact([[1], [3]])) is None


def test_empty_and_identity():
    assert (zeros(2, 0) @ zeros(0, 3)) == zeros(2, 3)
    assert identity(2).rows() == [[1, 0], [0, 1]]
    assert repr(identity(2)) == "ExactMatrix 2 x 2, denominator 1"


def test_numerators_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        identity(2).numerators[0, 0] = 2
