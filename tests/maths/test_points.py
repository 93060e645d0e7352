"""maths.points: the table is what the search finds, and better than the points in use."""

from fractions import Fraction

import pytest

from secateur.errors import AlgorithmError
from secateur.maths.nesting import of_moduli, of_points
from secateur.maths.point_search import growth_of
from secateur.maths.points import LONGEST, POINTS, POINTS_BESIDE_I, good_points, moduli_beside_i

USUAL = [Fraction(p) for p in ["0", "1", "-1", "2", "-2", "1/2", "-1/2", "4", "-4", "1/4", "-1/4", "3", "-3"]]


@pytest.mark.parametrize("size", POINTS, ids=str)
def test_every_entry_is_at_least_as_good_as_the_usual_points(size):
    points = good_points(*size)
    assert len(points) == len(set(points)) == sum(size) - 2
    assert growth_of(points, *size) <= growth_of(USUAL[: len(points)], *size) * (1 + 1e-12)


@pytest.mark.parametrize(
    ("size", "published"),
    [((4, 3), "0 3/5 -3/5 3/2 -3/2"), ((8, 3), "0 2/5 -2/5 4/5 -4/5 5/4 -5/4 5/2 -5/2")],
)
def test_good_points_known_before_are_reached(size, published):
    assert growth_of(good_points(*size), *size) <= growth_of([Fraction(p) for p in published.split()], *size)


def test_sizes_without_an_entry():
    assert good_points(1, 1) == ()
    assert good_points(1, 2) == (0,)
    assert good_points(1, 6) == good_points(4, 3) != ()
    assert of_points(1, 6, good_points(1, 6)).proves()
    with pytest.raises(AlgorithmError, match=f"no points are known beyond {LONGEST}"):
        good_points(LONGEST, 3)


@pytest.mark.parametrize("size", POINTS_BESIDE_I, ids=str)
def test_a_product_more_lowers_the_error_to_half_and_less(size):
    points = [Fraction(p) for p in POINTS_BESIDE_I[size].split()]
    assert 2 * growth_of(points, *size, beside_i=True) < growth_of(good_points(*size), *size)
    assert of_moduli(size[0], size[1], moduli_beside_i(*size)).products == sum(size)


def test_sizes_without_points_beside_i():
    with pytest.raises(AlgorithmError, match=r"no points are known for F\(3,2\) over x\^2\+1"):
        moduli_beside_i(3, 2)
