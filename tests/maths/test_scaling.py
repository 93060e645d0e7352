"""maths.scaling: the same algorithm at the same cost, in integers or for short exponents."""

from fractions import Fraction

import numpy as np
import pytest

from secateur.maths.float_error import Sample
from secateur.maths.nesting import nested, of_moduli, of_points, split_fields
from secateur.maths.scaling import balanced, integral, scaled

POINTS = of_points(8, 3, (0, "2/5", "-2/5", "4/5", "-4/5", "5/4", "-5/4", "5/2", "-5/2"))
ALGORITHMS = {
    "points": POINTS,
    "moduli": of_moduli(6, 3, "x, x^6-1"),
    "nested": nested(of_points(4, 3, (0, 1, -1, "1/2", -2)), of_moduli(2, 3, "x, x^2-1")),
    "split": split_fields((4, 4), (3, 3), ("x, x^4-1",) * 2),
}


@pytest.mark.parametrize("scaling", [balanced, integral], ids=["balanced", "integral"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_scaled_algorithms_are_proved_and_cost_the_same(name, scaling):
    algorithm = ALGORITHMS[name]
    found = scaling(algorithm)
    assert found.proves()
    assert (found.products, found.outputs, found.taps) == (algorithm.products, algorithm.outputs, algorithm.taps)
    assert found.adds.input <= algorithm.adds.input
    assert found.adds.output <= algorithm.adds.output
    assert found.integer or scaling is balanced


def test_integral_rows_share_no_factor():
    found = integral(POINTS)
    assert all(found.bt.content(t) == 1 for t in range(10))
    assert all(found.at.transposed().content(t) == 1 for t in range(10))


def test_balancing_saves_float16_and_multiplications():
    sample = Sample(tiles=8, channels=8, filters=4)
    two = nested(POINTS, POINTS)
    better = balanced(two)
    with np.errstate(over="ignore", invalid="ignore"):
        assert not np.isfinite(two.error("float16", sample).largest), "some products leave the range of float16"
    assert better.error("float16", sample).largest < 0.5
    assert better.input_transform.multiplies < two.input_transform.multiplies


def test_any_scales_do():
    scales = [Fraction(k + 1, 3) for k in range(10)]
    found = scaled(POINTS, scales, scales[::-1])
    assert found.proves()
    assert found.g != POINTS.g
