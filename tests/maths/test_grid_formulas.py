"""maths.grid: the formulas against finite differences where they are smooth, and by the laws their readings promise."""

import numpy as np
import pytest

from secateur.maths.grid import average, largest_code, level, shares

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(6, 40))
THETA = np.array([0.3, -0.2, 0.1])
WIDTHS = (2, 3, 5)
STEP = 1e-6


@pytest.mark.parametrize("bits", range(2, 9))
def test_codes_are_symmetric_and_the_end_of_the_range_is_on_the_grid(bits):
    largest = largest_code(bits)
    assert 2 * largest + 1 == 2**bits - 1
    grid = np.arange(-largest, largest + 1) * (0.7 / largest)
    np.testing.assert_allclose(level(grid, 0.7, bits, survivors=False).value, grid, atol=1e-15)
    np.testing.assert_allclose(level(np.array([9.0, -9.0]), 0.7, bits).value, [0.7, -0.7])


@pytest.mark.parametrize("bits", range(2, 9))
def test_survivors_survive_and_zero_stays_zero(bits):
    small = np.array([1e-9, -1e-9, 0.0])
    assert level(small, 1.0, bits, survivors=False).value.tolist() == [0, 0, 0]
    found = level(small, 1.0, bits).value
    np.testing.assert_allclose(found, np.array([1, -1, 0]) / largest_code(bits))


@pytest.mark.parametrize("survivors", [True, False])
@pytest.mark.parametrize("bits", range(2, 9))
def test_the_error_is_at_most_half_a_step_inside_the_range(bits, survivors):
    x = np.linspace(-1, 1, 999)
    step = 1 / largest_code(bits)
    rounded = np.abs(x) >= step / 2 if survivors else np.ones(len(x), bool)
    error = np.abs(level(x, 1.0, bits, survivors=survivors).value - x)
    assert error[rounded].max() <= step / 2 + 1e-12


@pytest.mark.parametrize("bits", range(2, 9))
def test_scaling_x_and_range_together_scales_the_value(bits):
    """x d/dx + x_max d/dx_max = DQ: Euler's relation, which ties the two straight-through derivatives together."""
    found = level(X, 1.3, bits)
    np.testing.assert_allclose(X * found.dx + 1.3 * found.dx_max, found.value, atol=1e-12)
    np.testing.assert_allclose(level(2 * X, 2.6, bits).value, 2 * found.value)


@pytest.mark.parametrize("bits", range(2, 9))
def test_straight_through_derivatives_are_those_of_rounding_by_a_fixed_amount(bits):
    """Where the amount that rounding adds is held fixed, finite differences give them."""
    largest = largest_code(bits)

    def surrogate(x, x_max):
        v = np.abs(X) / (1.3 / largest)
        added = np.clip(np.rint(v), 1, largest) - v
        inside = np.rint(v) <= largest
        return np.where(inside, np.sign(x) * (x_max / largest) * (np.abs(x) / (x_max / largest) + added),
                        np.sign(x) * x_max)  # fmt: skip

    found = level(X, 1.3, bits)
    np.testing.assert_allclose(surrogate(X, 1.3), found.value)
    dx = (surrogate(X + STEP, 1.3) - surrogate(X - STEP, 1.3)) / (2 * STEP)
    dx_max = (surrogate(X, 1.3 + STEP) - surrogate(X, 1.3 - STEP)) / (2 * STEP)
    np.testing.assert_allclose(dx, found.dx, atol=1e-8)
    np.testing.assert_allclose(dx_max, found.dx_max, atol=1e-8)


def test_the_average_lies_between_its_levels_and_is_one_of_them_when_cold():
    levels = np.stack([level(X, 1.3, bits).value for bits in WIDTHS])
    found = average(X, 1.3, THETA, 0.5, WIDTHS).value
    assert (found >= levels.min(0) - 1e-12).all()
    assert (found <= levels.max(0) + 1e-12).all()
    np.testing.assert_allclose(average(X, 1.3, THETA, 1e-3, WIDTHS).value, levels[0], atol=1e-12)


def test_derivatives_in_theta_equal_finite_differences():
    found = average(X, 1.3, THETA, 0.5, WIDTHS)
    for k in range(len(WIDTHS)):
        moved = [average(X, 1.3, THETA + sign * STEP * np.eye(3)[k], 0.5, WIDTHS) for sign in (1, -1)]
        np.testing.assert_allclose((moved[0].value - moved[1].value) / (2 * STEP), found.dtheta[k], atol=1e-8)
        assert (moved[0].bits - moved[1].bits) / (2 * STEP) == pytest.approx(found.dbits_dtheta[k], abs=1e-8)


def test_the_average_keeps_eulers_relation_and_expected_bits():
    found = average(X, np.full((6, 1), 1.3), THETA, 0.5, WIDTHS)
    np.testing.assert_allclose(X * found.dx + 1.3 * found.dx_max, found.value, atol=1e-12)
    assert found.bits == pytest.approx(shares(THETA, 0.5) @ WIDTHS)
    assert shares(THETA, 0.5).sum() == pytest.approx(1)
