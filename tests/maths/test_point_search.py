"""maths.point_search: repeated for short tiles, and its objective against exact matrices."""

from fractions import Fraction

import numpy as np
import pytest

from secateur.maths.float_error import growth
from secateur.maths.nesting import of_moduli, of_points
from secateur.maths.point_search import candidates, growth_of, search
from secateur.maths.points import POINTS, POINTS_BESIDE_I, moduli_beside_i


@pytest.mark.parametrize("size", [size for size in POINTS if sum(size) - 1 <= 6], ids=str)
def test_the_table_is_what_the_search_finds(size):
    assert search(*size) == tuple(map(Fraction, POINTS[size].split()))


@pytest.mark.parametrize("size", [size for size in POINTS_BESIDE_I if sum(size) - 1 <= 8], ids=str)
def test_the_table_beside_i_is_what_the_search_finds(size):
    assert search(*size, beside_i=True) == tuple(map(Fraction, POINTS_BESIDE_I[size].split()))


@pytest.mark.parametrize("size", POINTS_BESIDE_I, ids=str)
def test_the_objective_beside_i_is_that_of_the_exact_matrices(size):
    made = of_moduli(size[0], size[1], moduli_beside_i(*size))
    assert made.proves()
    points = [Fraction(p) for p in POINTS_BESIDE_I[size].split()]
    exact = growth(*(np.asarray(matrix, np.float64) for matrix in (made.at, made.g, made.bt)))
    assert growth_of(points, *size, beside_i=True) == pytest.approx(exact)


def test_the_objective_is_that_of_the_exact_matrices():
    made = of_points(4, 3, ("0", "2/3", "-2/3", "3/2", "-3/2"))
    at, g, bt = (np.asarray(matrix) for matrix in (made.at, made.g, made.bt))
    points = [Fraction(p) for p in ["0", "2/3", "-2/3", "3/2", "-3/2"]]
    assert growth_of(points, 4, 3) == pytest.approx(growth(at, g, bt))


def test_candidates_are_small_fractions():
    found = candidates()
    assert found == sorted(set(found))
    assert len(found) == 19
    assert max(found) == 5
