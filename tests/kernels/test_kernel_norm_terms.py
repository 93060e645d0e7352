"""What constraints add to a loss as generated code: against the formulas in float64, on every target here."""

import numpy as np
import pytest

from kernel_cases import GUARD, HERE, guarded
from secateur.kernels.norm_terms import Bounds, norm_terms_of
from secateur.kernels.target import TARGETS

FAR, LIMIT, ASCENT = 3.0, 10.0, 0.5


def numbers(size):
    """Constraints near, far and at the corners; multipliers within their bounds, at them and beyond."""
    draw = np.random.default_rng(size)
    moments, multipliers, wanted, weights = (guarded((size,))[1] for _ in range(4))
    moments[:] = draw.choice([0.0, 1.0, 0.5, -3.0, 4.0, 1e4, -50.0, 2.3], size)
    multipliers[:] = draw.choice([0.0, 1.5, -2.0, 10.0, -10.0, 11.0, -12.0], size)
    wanted[:], weights[:] = draw.choice([0.0, 1.0], size), draw.uniform(1e-4, 1e-2, size)
    return moments, multipliers, wanted, weights


def expected(arrays, squared):
    """Value and gradients, term by term."""
    moments, multipliers, wanted, weights = (one.astype(np.float64) for one in arrays)
    value, slopes, ascents = 0.0, [], []
    low = 0.0 if squared else -LIMIT
    for x, m_raw, r in zip(moments - wanted, multipliers, weights, strict=True):
        m = min(max(m_raw, low), LIMIT)
        c = x if abs(x) <= FAR else np.sign(x) * (FAR + FAR * np.log(abs(x) / FAR))
        steep = min(1.0, FAR / abs(x)) if x else 1.0
        huber = c**2 / 2 if abs(c) <= FAR else FAR * (abs(c) - FAR / 2)
        value += r * (m * c**2 if squared else m * c + huber)
        slopes.append(r * steep * (2 * m * c if squared else m + min(max(c, -FAR), FAR)))
        gain = min(c**2, 1.0) if squared else min(max(c, -1.0), 1.0)
        stopped = (m_raw >= LIMIT and gain > 0) or (m_raw <= low and gain < 0)
        ascents.append(0.0 if stopped else -ASCENT * r * gain)
    return value, np.array(slopes), np.array(ascents)


def check(target, size, squared, fault=0.0):
    arrays = numbers(size)
    (first, slope), (second, ascent) = guarded((size,), 77.0), guarded((size,), 77.0)
    code = norm_terms_of(Bounds(FAR, LIMIT, ASCENT, squared), TARGETS[target])
    value = code(tuple(one.ctypes.data for one in (*arrays, slope, ascent)), size)
    for buffer in (first, second):
        assert (buffer[:GUARD] == 77).all()
        assert (buffer[-GUARD:] == 77).all()
    wanted = expected(arrays, squared)
    np.testing.assert_allclose(value, wanted[0] + fault, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(slope, wanted[1], rtol=2e-6, atol=1e-9)
    np.testing.assert_allclose(ascent, wanted[2], rtol=2e-6, atol=1e-12)


@pytest.mark.parametrize("target", HERE)
@pytest.mark.parametrize("squared", [False, True])
def test_value_and_gradients_are_those_of_the_formulas(target, squared):
    for size in (0, 1, 2, 7, 16, 33, 200):
        check(target, size, squared)


def test_a_planted_fault_is_found():
    with pytest.raises(AssertionError):
        check(HERE[0], 33, squared=False, fault=0.01)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("squared", [False, True])
def test_what_is_no_number_stays_none(bad, squared):
    arrays = numbers(4)
    arrays[0][2] = bad
    slope, ascent = np.zeros(4, np.float32), np.zeros(4, np.float32)
    code = norm_terms_of(Bounds(FAR, LIMIT, ASCENT, squared), TARGETS[HERE[0]])
    assert not np.isfinite(code(tuple(one.ctypes.data for one in (*arrays, slope, ascent)), 4))
