"""erfc against the standard library's."""

from __future__ import annotations

import math

import numpy as np

from secateur.ir.ops.gauss import FARTHEST, erfc


def test_relative_error() -> None:
    x = np.linspace(-7, FARTHEST, 20_001)
    exact = np.array([math.erfc(value) for value in x])
    assert np.abs(erfc(x) / exact - 1).max() < 1e-10


def test_ends_and_shapes() -> None:
    np.testing.assert_allclose(
        erfc(np.array([[0.0, -40.0], [40.0, -np.inf]])), [[1, 2], [0, 2]], rtol=1e-10, atol=1e-290
    )
    assert np.isnan(erfc(np.array(np.nan)))
    assert erfc(np.zeros((0, 3), np.float32)).shape == (0, 3)
