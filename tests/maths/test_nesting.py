"""maths.nesting: numbers of products in two dimensions, and what nesting keeps."""

import pytest

from secateur.maths.nesting import convolution_generator, nested, of_moduli, of_points, split_fields


@pytest.mark.parametrize(
    ("outputs", "taps", "moduli", "split", "nest"),
    [
        (4, 3, "x, x^4-1", 46, 49),
        (6, 3, "x, x^6-1", 88, 100),
        (4, 5, "x, x^6-1", 88, 100),
        (8, 3, "x, x^6-1, x^2+1", 150, 169),
    ],
)
def test_products_in_two_dimensions(outputs, taps, moduli, split, nest):
    found = split_fields((outputs,) * 2, (taps,) * 2, (moduli,) * 2)
    assert found.proves()
    assert found.products == split
    assert nested(*[of_moduli(outputs, taps, moduli)] * 2).products == nest
    assert convolution_generator((outputs,) * 2, (taps,) * 2, (moduli,) * 2) == found


def test_points_are_nested_since_lines_do_not_split():
    found = convolution_generator((4, 2), (3, 3), ("x, x-1, x+1, x-2, x+2", "x, x-1, x+1"))
    assert found.proves()
    assert [axis.name for axis in found.axes] == ["F(4,3)", "F(2,3)"]
    assert found.recipe == "x, x-1, x+1, x-2, x+2, inf | x, x-1, x+1, inf"


def test_nesting_of_a_split_algorithm_with_a_third_dimension():
    plane = split_fields((2, 2), (2, 2), ("x^2+1, x",) * 2)
    found = nested(plane, of_points(2, 3, (0, 1, -1)))
    assert found.proves()
    assert (found.outputs, found.taps, found.products) == ((2, 2, 2), (2, 2, 3), 4 * plane.products)


def test_one_dimension_is_itself():
    one = of_points(2, 3, (0, 1, -1))
    assert nested(one) is one
    assert one.axes == ()
