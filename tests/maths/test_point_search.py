"""maths.point_search: repeated for short tiles, and its objective against exact matrices."""

from fractions import Fraction

import numpy as np
import pytest

from secateur.maths.float_error import growth
from secateur.maths.nesting import of_points
from secateur.maths.point_search import candidates, growth_of, search
from secateur.maths.points import POINTS


@pytest.mark.parametrize("size", [size for size in POINTS if sum(size) - 1 <= 6], ids=str)
def test_the_table_is_what_the_search_finds(size):
    assert search(*size) == tuple(map(Fraction, POINTS[size].split()))


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
