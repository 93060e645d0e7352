"""maths.value_grid: the average over grid values, against finite differences and what it has to be at its ends."""

import numpy as np
import pytest

from secateur.maths.grid import largest_code, level
from secateur.maths.value_grid import NEAREST, WARMEST, value_average, value_level

X = np.random.default_rng(0).standard_normal(200)
TEMPERATURES = [WARMEST, 0.2, 0.05]


def literal(x, x_max, bits, temperature):
    """One weight after another, all values of the grid, as the formula is written."""
    step, found = x_max / largest_code(bits), []
    for one in x:
        weights = [np.exp(-((abs(one) / step - k) ** 2) / temperature) for k in range(1, largest_code(bits) + 1)]
        mean = sum(k * w for k, w in enumerate(weights, 1)) / sum(weights)
        found.append(step * np.sign(one) * mean)
    return np.array(found)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("bits", [2, 3, 5, 8])
def test_is_the_formula_as_it_is_written(bits, temperature):
    x = X[np.abs(X) < 0.9]
    np.testing.assert_allclose(value_level(x, 1.0, bits, temperature).value, literal(x, 1.0, bits, temperature))


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("bits", [2, 3, 5, 8])
def test_derivatives_are_those_of_finite_differences(bits, temperature):
    h, found = 1e-7, value_level(X, 1.3, bits, temperature)

    def by(x, x_max):
        return value_level(x, x_max, bits, temperature).value

    np.testing.assert_allclose(found.dx, (by(X + h, 1.3) - by(X - h, 1.3)) / (2 * h), atol=2e-6, rtol=1e-5)
    np.testing.assert_allclose(found.dx_max, (by(X, 1.3 + h) - by(X, 1.3 - h)) / (2 * h), atol=2e-6, rtol=1e-5)


def test_becomes_rounding_as_it_cools_and_two_bits_have_one_value():
    away = np.abs(np.abs(X) * 7 % 1 - 0.5) > 0.1
    cold = value_level(X[away], 1.0, 4, 0.005).value
    np.testing.assert_allclose(cold, level(X[away], 1.0, 4).value, atol=1e-9)
    two = value_level(X, 1.0, 2, WARMEST)
    np.testing.assert_array_equal(two.value, np.sign(X))
    np.testing.assert_array_equal(two.dx, 0)


def test_values_beyond_the_nearest_do_not_count():
    """What the fused operators leave out."""
    bits, step = 6, 1 / largest_code(6)
    v = np.abs(X[np.abs(X) < 1]) / step
    values = np.arange(1, largest_code(bits) + 1)[:, None]
    weights = np.exp(-((v - values) ** 2) / WARMEST)
    near = np.sort(weights, 0)[-NEAREST:].sum(0)
    assert (1 - near / weights.sum(0)).max() < 2e-3


def test_the_average_over_widths_is_differentiated_in_theta():
    theta, widths, h = np.array([0.3, -0.2, 0.5]), [2, 4, 6], 1e-6
    found = value_average(X, 1.2, (theta, 0.7), widths, 0.3)
    for place in range(3):
        moved = [theta + sign * h * (np.arange(3) == place) for sign in (1, -1)]
        up, down = (value_average(X, 1.2, (one, 0.7), widths, 0.3).value for one in moved)
        np.testing.assert_allclose(found.dtheta[place], (up - down) / (2 * h), atol=1e-7)
