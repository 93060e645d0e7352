"""maths.point_search: repeated for short tiles, and its objective against exact matrices."""

from fractions import Fraction

import numpy as np
import pytest

from secateur.maths.float_error import growth
from secateur.maths.nesting import of_moduli, of_points
from secateur.maths.point_search import candidates, growth_of, growths_of, refined, search
from secateur.maths.points import POINTS, POINTS_BESIDE, REFINED, moduli_beside, points_beside


@pytest.mark.parametrize("size", [size for size in POINTS if sum(size) - 1 <= 6], ids=str)
def test_the_table_is_what_the_search_finds(size):
    assert search(*size) == tuple(map(Fraction, POINTS[size].split()))


BESIDE = [(*size, beside) for beside, sizes in POINTS_BESIDE.items() for size in sizes]
LONGEST_SEARCHED = {"x^2+1": 8, "x^6-1": 12}


@pytest.mark.parametrize("size", [one for one in BESIDE if one[0] + one[1] - 1 <= LONGEST_SEARCHED[one[2]]], ids=str)
def test_the_tables_beside_moduli_are_what_the_search_finds(size):
    assert search(*size[:2], beside=size[2]) == points_beside(*size)


@pytest.mark.parametrize("size", BESIDE, ids=str)
def test_the_objective_beside_moduli_is_that_of_the_exact_matrices(size):
    made = of_moduli(size[0], size[1], moduli_beside(*size))
    assert made.proves()
    exact = growth(*(np.asarray(matrix, np.float64) for matrix in (made.at, made.g, made.bt)))
    assert growth_of(points_beside(*size), *size[:2], beside=size[2]) == pytest.approx(exact)


def test_an_even_number_of_points_does_without_zero_where_that_rounds_better():
    for size in ((3, 3), (5, 3), (7, 5)):
        points = search(*size)
        assert 0 not in points
        assert sorted(points) == sorted(-p for p in points)
    assert 0 in search(2, 2)


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


@pytest.mark.parametrize(("beside", "size"), REFINED, ids=str)
def test_refined_entries_are_where_no_finer_fraction_lowers_the_largest_growth(beside, size):
    outputs, taps = size
    points = points_beside(outputs, taps, beside)
    assert refined(points, outputs, taps, beside=beside) == points


def test_refining_what_the_search_finds_lowers_the_largest_growth_of_an_output():
    searched = tuple(map(Fraction, ["0", "1/2", "-1/2", "1", "-1", "5/3", "-5/3"]))
    found = refined(searched, 6, 5, beside="x^2+1")
    assert found == points_beside(6, 5, "x^2+1")
    worst, before = (growths_of(points, 6, 5, beside="x^2+1").max() for points in (found, searched))
    assert worst < 0.9 * before
    assert growth_of(found, 6, 5, beside="x^2+1") >= growth_of(searched, 6, 5, beside="x^2+1")
    # One more step of any single pair is no better.
    fractions = candidates(12)
    for place, point in enumerate(found[1::2]):
        for step in (-1, 1):
            pairs = list(found[1::2])
            pairs[place] = fractions[fractions.index(point) + step]
            moved = (Fraction(0), *(sign * p for p in pairs for sign in (1, -1)))
            assert growths_of(moved, 6, 5, beside="x^2+1").max() >= worst
