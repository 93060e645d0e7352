"""maths.points: the table is what the search finds, and better than the points in use."""

from fractions import Fraction

import pytest

from secateur.errors import AlgorithmError
from secateur.maths.nesting import of_moduli, of_points
from secateur.maths.point_search import growth_of
from secateur.maths.points import LONGEST, POINTS, POINTS_BESIDE, good_points, moduli_beside, points_beside

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


@pytest.mark.parametrize("size", [size for size in POINTS_BESIDE["x^2+1"] if sum(size) - 1 <= LONGEST], ids=str)
def test_a_product_more_lowers_the_error_to_half_and_less(size):
    points, alone = points_beside(*size, "x^2+1"), points_beside(*size, "")
    assert alone == good_points(*size)
    assert 2 * growth_of(points, *size, beside="x^2+1") < growth_of(alone, *size)
    assert of_moduli(size[0], size[1], moduli_beside(*size, "x^2+1")).products == sum(size)


@pytest.mark.parametrize("size", sorted(POINTS_BESIDE["x^6-1"].keys() & POINTS_BESIDE["x^2+1"].keys()), ids=str)
def test_and_another_to_two_thirds_and_less(size):
    growths = [growth_of(points_beside(*size, name), *size, beside=name) for name in ("x^6-1", "x^2+1")]
    assert 1.5 * growths[0] < growths[1]
    assert of_moduli(size[0], size[1], moduli_beside(*size, "x^6-1")).products == sum(size) + 1


def test_sizes_without_points_beside_a_modulus():
    with pytest.raises(AlgorithmError, match=r"no points are known for F\(3,2\) beside 'x\^2\+1'"):
        moduli_beside(3, 2, "x^2+1")
