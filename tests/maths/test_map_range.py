"""maths.map_range: percentiles and least errors against the values themselves."""

import numpy as np
import pytest

from secateur.maths.map_grid import map_level
from secateur.maths.map_range import BINS, TRIED, least_error, percentile_end, range_at

RANDOM = np.random.default_rng(0)
VALUES = np.abs(RANDOM.standard_normal(20_000))


def counted(values):
    top = values.max()
    return np.histogram(values, BINS, (0, top))[0], float(top)


@pytest.mark.parametrize("percent", [50.0, 99.0, 99.9, 100.0])
def test_percentiles(percent):
    counts, top = counted(VALUES)
    end = percentile_end(counts, top, percent)
    assert (end >= VALUES).mean() * 100 >= percent - 1e-9
    assert end - np.percentile(VALUES, percent, method="higher") <= 2 * top / BINS
    assert percentile_end(counts, top, 100) == pytest.approx(top)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_least_error_is_that_of_the_values(bits, signed):
    counts, top = counted(VALUES)
    found = least_error(counts, top, bits, signed=signed)
    errors = [
        ((map_level(VALUES, share * top, bits, signed=signed).value - VALUES) ** 2).sum() / (VALUES**2).sum()
        for share in TRIED
    ]
    assert found.error == pytest.approx(min(errors), rel=0.05)
    assert errors[int(np.argmin(np.abs(share_of(found.x_max, top))))] == pytest.approx(min(errors), rel=0.05)


def share_of(x_max, top):
    return TRIED - x_max / top


def test_fewer_bits_clip_more():
    counts, top = counted(VALUES)
    ends = [least_error(counts, top, bits, signed=False).x_max for bits in (2, 4, 8)]
    assert ends == sorted(ends)
    assert ends[0] < 0.8 * ends[-1]


def test_a_map_of_zeros_has_no_range():
    assert range_at(np.zeros(BINS, np.int64), 0.0, 1.0, 4, signed=True).x_max == 0.0
