"""maths.map_grid: the formulas against finite differences where they are smooth, and by the laws of their readings."""

import numpy as np
import pytest

from secateur.maths.map_grid import codes, map_average, map_level

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(6, 40))
THETA = np.array([0.3, -0.2, 0.1])
WIDTHS = (2, 3, 5)
STEP = 1e-6
SIGNED = [True, False]


@pytest.mark.parametrize("bits", range(2, 9))
def test_codes(bits):
    assert codes(bits, signed=True) == (1 - 2 ** (bits - 1), 2 ** (bits - 1) - 1)
    assert codes(bits, signed=False) == (0, 2**bits - 1)


@pytest.mark.parametrize("signed", SIGNED)
@pytest.mark.parametrize("bits", range(2, 9))
def test_the_grid_stays_and_ends_are_clipped(bits, signed):
    low, high = codes(bits, signed=signed)
    grid = np.arange(low, high + 1) * (0.7 / high)
    np.testing.assert_allclose(map_level(grid, 0.7, bits, signed=signed).value, grid, atol=1e-15)
    np.testing.assert_allclose(
        map_level(np.array([9.0, -9.0]), 0.7, bits, signed=signed).value, [0.7, low * 0.7 / high]
    )


def test_halves_are_rounded_up():
    found = map_level(np.array([0.5, 1.5, -0.5, -1.5, 0.49, -0.51]), 7.0, 4, signed=True)
    assert found.value.tolist() == [1, 2, 0, -1, 0, -1]


@pytest.mark.parametrize("signed", SIGNED)
@pytest.mark.parametrize("bits", range(2, 9))
def test_the_error_is_at_most_half_a_step_inside_the_range(bits, signed):
    x = np.linspace(-1 if signed else 0, 1, 999)
    error = np.abs(map_level(x, 1.0, bits, signed=signed).value - x)
    assert error.max() <= 0.5 / codes(bits, signed=signed)[1] + 1e-12


@pytest.mark.parametrize("signed", SIGNED)
@pytest.mark.parametrize("bits", range(2, 9))
def test_scaling_x_and_range_together_scales_the_value(bits, signed):
    """Euler's relation, which ties the two straight-through derivatives together."""
    found = map_level(X, 1.3, bits, signed=signed)
    np.testing.assert_allclose(X * found.dx + 1.3 * found.dx_max, found.value, atol=1e-12)
    np.testing.assert_allclose(map_level(2 * X, 2.6, bits, signed=signed).value, 2 * found.value)


@pytest.mark.parametrize("signed", SIGNED)
@pytest.mark.parametrize("bits", range(2, 9))
def test_straight_through_derivatives_are_those_of_rounding_by_a_fixed_amount(bits, signed):
    """Where the amount that rounding adds is held fixed, finite differences give them."""
    low, high = codes(bits, signed=signed)
    v = X / (1.3 / high)
    rounded = np.floor(v + 0.5)
    inside = (rounded >= low) & (rounded <= high)

    def surrogate(x, x_max):
        step = x_max / high
        return np.where(inside, step * (x / step + rounded - v), step * np.clip(rounded, low, high))

    found = map_level(X, 1.3, bits, signed=signed)
    np.testing.assert_allclose(surrogate(X, 1.3), found.value, atol=1e-12)
    dx = (surrogate(X + STEP, 1.3) - surrogate(X - STEP, 1.3)) / (2 * STEP)
    dx_max = (surrogate(X, 1.3 + STEP) - surrogate(X, 1.3 - STEP)) / (2 * STEP)
    np.testing.assert_allclose(dx, found.dx, atol=1e-8)
    np.testing.assert_allclose(dx_max, found.dx_max, atol=1e-7)


@pytest.mark.parametrize("signed", SIGNED)
def test_derivatives_in_theta_equal_finite_differences(signed):
    found = map_average(X, 1.3, THETA, 0.5, WIDTHS, signed=signed)
    for k in range(len(WIDTHS)):
        moved = [
            map_average(X, 1.3, THETA + sign * STEP * np.eye(3)[k], 0.5, WIDTHS, signed=signed).value
            for sign in (1, -1)
        ]
        np.testing.assert_allclose((moved[0] - moved[1]) / (2 * STEP), found.dtheta[k], atol=1e-8)


def test_a_planted_fault_is_seen():
    """Rounding halves to even is another function."""
    x = np.arange(-6, 7) / 2
    assert not np.array_equal(map_level(x, 7.0, 4, signed=True).value, np.rint(x))
