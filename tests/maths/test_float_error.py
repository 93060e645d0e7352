"""maths.float_error: what is measured agrees with torch and with definitions, and never exceeds the bound."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.errors import AlgorithmError
from secateur.maths.float_error import (
    FORMATS,
    Sample,
    bound,
    direct,
    fast,
    growth,
    growths,
    measured,
    to_bfloat16,
)
from secateur.maths.nesting import nested, of_moduli, of_points, split_fields

SMALL = Sample(tiles=8, channels=8, filters=4)
ALGORITHMS = {
    "F(2x2,3x3)": nested(*[of_points(2, 3, (0, 1, -1))] * 2),
    "F(4,3) points": of_points(4, 3, (0, 1, -1, 2, -2)),
    "F(8,3) usual points": of_points(8, 3, (0, 1, -1, 2, -2, "1/2", "-1/2", 4, -4)),
    "F(8,3) good points": of_points(8, 3, (0, "2/5", "-2/5", "4/5", "-4/5", "5/4", "-5/4", "5/2", "-5/2")),
    "F(4x4,3x3) split": split_fields((4, 4), (3, 3), ("x, x^4-1",) * 2),
    "F(6,3) moduli": of_moduli(6, 3, "x, x^6-1"),
}


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**100), max_value=2.0**100)))
def test_bfloat16_rounds_as_torch(values):
    x = np.array(values, np.float32)
    wanted = torch.from_numpy(x.copy()).bfloat16().float().numpy()
    np.testing.assert_array_equal(to_bfloat16(x), wanted)


def test_direct_is_torchs_convolution():
    random = np.random.default_rng(0)
    x, w = random.standard_normal((6 * 5, 2, 3)), random.standard_normal((3 * 2, 3, 4))
    image = torch.from_numpy(x).reshape(6, 5, 2, 3).permute(2, 3, 0, 1)
    filters = torch.from_numpy(w).reshape(3, 2, 3, 4).permute(3, 2, 0, 1)
    wanted = torch.nn.functional.conv2d(image, filters).permute(2, 3, 0, 1).reshape(4 * 4, 2, 4).numpy()
    np.testing.assert_allclose(direct(x, w, (4, 4), (3, 2)), wanted)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_no_error_exceeds_the_bound(name, dtype):
    """On a drawn sample, and on signs chosen to add up, so that the bound is not only true because it is loose."""
    algorithm = ALGORITHMS[name]
    form, channels = FORMATS[dtype], 8
    limit = bound(algorithm, dtype, channels)
    random = np.random.default_rng(1)
    signs = np.sign(np.asarray(algorithm.bt, np.float64))[:, :, None].repeat(channels, 2).transpose(1, 0, 2)
    drawn = random.standard_normal((len(signs), 16, channels))
    for x in (signs * (1 + 2.0**-9), drawn):
        x = form.round(x.astype(np.float32))
        w = form.round(random.standard_normal((algorithm.g.shape[1], channels, 5)).astype(np.float32))
        wanted = direct(x.astype(np.float64), w.astype(np.float64), algorithm.outputs, algorithm.taps)
        with np.errstate(over="ignore", invalid="ignore"):
            loss = abs(fast(algorithm, x, w, form) - wanted).max()
        overflow = dtype == "float16" and not np.isfinite(loss)
        assert overflow or loss <= limit * channels * algorithm.g.shape[1] * abs(x).max() * abs(w).max()
        assert overflow or loss > 0


def test_what_is_measured_orders_algorithms_as_known():
    """Family below points, good points below usual ones by far, shorter dtypes worse."""
    errors = {name: measured(algorithm, "float32", SMALL) for name, algorithm in ALGORITHMS.items()}
    assert errors["F(6,3) moduli"].rms < errors["F(4,3) points"].rms < errors["F(8,3) good points"].rms
    assert 4 * errors["F(8,3) good points"].rms < errors["F(8,3) usual points"].rms
    name = "F(4x4,3x3) split"
    half, short = (measured(ALGORITHMS[name], dtype, SMALL) for dtype in ("float16", "bfloat16"))
    assert errors[name].largest < 2e-6 < half.largest < short.largest < 0.05
    assert short.how == str(SMALL)
    assert "8 channels" in str(SMALL)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_the_seed_is_the_sample(seed):
    one, two = (measured(ALGORITHMS["F(2x2,3x3)"], "float32", Sample(4, 4, 2, seed)) for _ in range(2))
    assert one == two


def test_growth_ignores_scaling():
    at, g, bt = (np.asarray(m, np.float64) for m in (lambda a: (a.at, a.g, a.bt))(ALGORITHMS["F(4,3) points"]))
    d = np.arange(1.0, 7)
    assert growth(at * d, g / d[:, None] ** 3, bt * d[:, None] ** 2) == pytest.approx(growth(at, g, bt))
    assert growths(at * d, g / d[:, None] ** 3, bt * d[:, None] ** 2) == pytest.approx(growths(at, g, bt))
    assert growth(at, g, bt) ** 2 == pytest.approx((growths(at, g, bt) ** 2).mean())


def test_an_unknown_dtype_is_refused():
    with pytest.raises(AlgorithmError, match="use one of float32, bfloat16, float16"):
        ALGORITHMS["F(6,3) moduli"].error("int4")
