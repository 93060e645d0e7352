"""Activations in 8 bits: the numpy definition, at its ends."""

import numpy as np

from secateur.kernels.linear_quantize import LEAST_SCALE, quantized

X = np.random.default_rng(0).standard_normal((5, 70)).astype(np.float32)


def test_dynamic_scales_reach_the_ends_and_lose_half_a_step_at_most():
    codes, scales = quantized(X)
    assert (np.abs(codes).max(1) == 127).all()
    assert (np.abs(codes * scales[:, None] - X) <= 0.5001 * scales[:, None]).all()


def test_a_static_scale_cuts_off():
    codes, scales = quantized(X, 0.01)
    assert (scales == np.float32(0.01)).all()
    np.testing.assert_array_equal(codes, np.clip(np.rint(X / np.float32(0.01)), -127, 127))
    assert np.abs(X).max() > 1.27 == 127 * 0.01


def test_zeros_and_numbers_too_small_for_an_inverse_are_zeros():
    for x in (np.zeros((2, 3), np.float32), np.full((2, 3), 1e-40, np.float32), np.zeros((2, 0), np.float32)):
        codes, scales = quantized(x)
        assert not codes.any()
        assert np.isfinite(scales).all()
    codes, _ = quantized(np.full((1, 3), 2 * 127 * LEAST_SCALE, np.float32))
    assert (codes == 127).all()


def test_a_token_that_is_not_finite_has_no_scale():
    x = X.copy()
    x[0, 0], x[1, 1], x[2, 2] = np.nan, np.inf, -np.inf
    for scale in (0.0, 0.1):
        assert np.isnan(quantized(x, scale)[1]).tolist() == [True, True, True, False, False]
