"""maths.threshold: the gate against its literal definition and finite differences."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.maths.threshold import (
    TINY_GATE,
    gate,
    hard_mask,
    inverse_softplus,
    packed_bits_bound,
    softplus,
)


def literal(w, a, b):
    """h as methods print it, in float64."""
    sigma = lambda z: 1 / (1 + np.exp(-z))  # noqa: E731
    return sigma(b * (w - a)) + sigma(-b * (w + a))


W = np.linspace(-2, 2, 81)


@given(alpha=st.floats(0.05, 3), k=st.floats(4, 12))
def test_equals_the_literal_definition(alpha, k):
    expected = literal(W, alpha, k / alpha)
    np.testing.assert_allclose(gate(W, alpha, k).h, expected, rtol=1e-9, atol=TINY_GATE)


@given(alpha=st.floats(0.1, 2), k=st.floats(4, 12))
def test_derivatives_equal_finite_differences(alpha, k):
    step = 1e-6
    found = gate(W, alpha, k)
    dw = (literal(W + step, alpha, k / alpha) - literal(W - step, alpha, k / alpha)) / (2 * step)
    np.testing.assert_allclose(found.edge, W * dw, atol=1e-6)
    wide, tight = alpha + step, alpha - step
    da = (literal(W, wide, k / wide) - literal(W, tight, k / tight)) / (2 * step)
    np.testing.assert_allclose(found.edge, -alpha * da, atol=1e-5)
    dk = (literal(W, alpha, (k + step) / alpha) - literal(W, alpha, (k - step) / alpha)) / (2 * step)
    np.testing.assert_allclose(found.dh_dk, dk, atol=1e-6)


def test_is_even_zero_inside_one_outside():
    h = gate(W, 1.0, 40.0).h
    np.testing.assert_array_equal(h, gate(-W, 1.0, 40.0).h)
    assert (h[np.abs(W) < 0.5] == 0).all(), "a tiny gate must be exactly zero, not a denormal"
    np.testing.assert_allclose(h[np.abs(W) > 1.5], 1, atol=1e-6)


def test_floor_of_the_dead_zone():
    assert gate(np.zeros(1), 0.3, 6.0).h[0] == pytest.approx(2 / (1 + np.exp(6)))


def test_hard_mask_is_the_limit():
    w = np.array([-1.0, -0.5, 0.0, 0.5, 0.50001])
    np.testing.assert_array_equal(hard_mask(w, 0.5), [True, False, False, False, True])
    np.testing.assert_allclose(gate(w[[0, 2]], 0.5, 400.0).h, [1, 0])


@given(st.floats(1e-6, 50))
def test_softplus_inverts(y):
    assert softplus(inverse_softplus(y)) == pytest.approx(y, rel=1e-9)


def test_softplus_reaches_only_positive_numbers():
    with pytest.raises(ValueError, match="positive"):
        inverse_softplus(0.0)


@pytest.mark.parametrize("bits", [2, 16, 32])
def test_packed_bits_bound_is_monotone_and_above_the_entropy(bits):
    d = np.linspace(1e-4, 0.9999, 999)
    bound = np.array([packed_bits_bound(float(x), bits) for x in d])
    entropy = -d * np.log2(d) - (1 - d) * np.log2(1 - d) + d * bits
    assert (np.diff(bound) > 0).all()
    assert (bound >= entropy - 1e-12).all()
