"""The average over grid values as generated code, against the definition in numpy, on every target here."""

import numpy as np
import pytest

from kernel_cases import GUARD, HERE, guarded
from secateur.kernels.target import TARGETS, host_target
from secateur.kernels.value_levels import value_levels_of
from secateur.maths import grid
from secateur.maths.value_grid import value_average, value_level

WIDTHS = [(4,), (2,), (2, 3, 4, 6), tuple(range(2, 9))]
COOL = [0.2, 0.05]
"""Temperatures at which what is left out weighs less than float32's rounding."""
TAU = 0.7


def run(widths, rows, columns, temperature, target):
    draw = np.random.default_rng(rows + columns)
    (x_all, x), (upstream_all, upstream) = (guarded((rows, columns)) for _ in range(2))
    x[:], upstream[:] = draw.standard_normal((2, rows, columns))
    x[draw.random(x.shape) < 0.3] = 0
    assert x_all is not upstream_all
    x_max = draw.uniform(0.8, 1.8, rows)
    theta = draw.standard_normal(len(widths))
    weights = grid.shares(theta, TAU).tolist(), temperature
    made = value_levels_of(widths, host_target(target))
    (forward_all, average), (backward_all, x_grad) = (guarded(x.shape, 77.0) for _ in range(2))
    range_ = float(x_max[0]) if rows == 1 else x_max
    made.forward((x.ctypes.data, average.ctypes.data), x.size, range_, weights)
    addresses = x.ctypes.data, upstream.ctypes.data, x_grad.ctypes.data
    toward_range, toward_shares = made.backward(addresses, x.size, range_, weights)
    for buffer in (forward_all, backward_all):
        assert (buffer[:GUARD] == 77).all()
        assert (buffer[-GUARD:] == 77).all()
    # The step as the code gets it.
    step = np.float32(x_max / grid.largest_code(widths[0])).astype(np.float64)[:, None]
    end = step * grid.largest_code(widths[0])
    return (
        (average, x_grad, toward_range, toward_shares),
        value_average(x, end, (theta, TAU), widths, temperature),
        [value_level(x, end, bits, temperature).value for bits in widths],
        upstream.astype(np.float64),
    )


@pytest.mark.parametrize("temperature", COOL)
@pytest.mark.parametrize("target", HERE)
@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_equals_the_definition(widths, target, temperature):
    lanes = TARGETS[target].lanes
    for rows, columns in ((1, 0), (1, 1), (1, lanes), (1, 4 * lanes + 1), (1, 3000), (5, 300), (3, 1)):
        found, expected, values, upstream = run(widths, rows, columns, temperature, target)
        average, x_grad, toward_range, toward_shares = found
        edge = 2e-5 / temperature  # of an exponent's rounding, over the steepest slope
        np.testing.assert_allclose(average, expected.value, rtol=1e-5, atol=edge)
        slope = 20 * edge / temperature * np.maximum(1, np.abs(upstream))
        assert (np.abs(x_grad - upstream * expected.dx) <= slope * (1 + np.abs(expected.dx))).all()
        terms = upstream * expected.dx_max
        sizes = np.abs(terms).sum() + 1 + np.abs(upstream).sum()
        np.testing.assert_allclose(toward_range, terms.sum(None if rows == 1 else 1), atol=5 * edge * sizes)
        sums = [(upstream * one).sum() for one in values]
        np.testing.assert_allclose(toward_shares, sums, atol=edge * (np.abs(upstream).sum() + 1))


@pytest.mark.parametrize("target", HERE)
def test_zeros_stay_zero_and_far_weights_are_the_largest_value(target):
    x = np.array([[0.0, -0.0, 1e-30, -1e-30, 1e4, -1e4, np.nan]], np.float32)
    out = np.empty_like(x)
    made = value_levels_of((2, 4), host_target(target))
    made.forward((x.ctypes.data, out.ctypes.data), x.size, 1.0, ([0.5, 0.5], 0.2))
    assert out[0, :2].tobytes() == bytes(8)
    assert np.isnan(out[0, -1])
    assert np.sign(out[0, 2:4]).tolist() == [1, -1]
    np.testing.assert_allclose(out[0, 4:6], [1.0, -1.0], rtol=1e-6)


@pytest.mark.parametrize("target", HERE)
def test_a_planted_fault_is_seen(target):
    found, *_ = run((2, 4), 5, 300, 0.2, target)
    _, expected, *_ = run((2, 4), 5, 300, 0.25, target)
    assert np.abs(found[0] - expected.value).max() > 1e-3
