"""The weighted average over bit widths as generated code, against the definition in numpy, on every target here."""

import numpy as np
import pytest

from kernel_cases import GUARD, HERE, guarded
from secateur.kernels.levels import levels_of
from secateur.kernels.rows import GROUP
from secateur.kernels.target import TARGETS, host_target
from secateur.maths import grid

WIDTHS = [(4,), (2,), (2, 3, 4, 6), (3, 8), tuple(range(2, 9))]
TAU = 0.7
EACH = [(widths, target) for widths in WIDTHS for target in HERE]


class Case:
    """A weight with zeros and its upstream gradient between NaN, ranges of one element or of one a row."""

    def __init__(self, widths, rows, columns, *, one=False, seed=0):
        draw = np.random.default_rng(seed)
        self.widths = widths
        self.x, self.upstream = (guarded((rows, columns))[1] for _ in range(2))
        self.x[:], self.upstream[:] = draw.standard_normal((2, rows, columns))
        self.x[draw.random(self.x.shape) < 0.3] = 0
        self.x_max = draw.uniform(0.8, 1.8, 1 if one else rows)
        self.theta = draw.standard_normal(len(widths))
        self.shares = grid.shares(self.theta, TAU)

    @property
    def range(self):
        return float(self.x_max[0]) if len(self.x_max) == 1 else self.x_max

    def expected(self):
        # The step as the code gets it: a number on a rounding boundary must fall on the same side.
        step = np.float32(self.x_max / grid.largest_code(self.widths[0])).astype(np.float64)
        return grid.average(self.x, step[:, None] * grid.largest_code(self.widths[0]), self.theta, TAU, self.widths)

    def forward(self, target):
        buffer, out = guarded(self.x.shape, 77.0)
        made = levels_of(self.widths, host_target(target))
        made.forward((self.x.ctypes.data, out.ctypes.data), self.x.size, self.range, self.shares.tolist())
        assert (buffer[:GUARD] == 77).all()
        assert (buffer[-GUARD:] == 77).all()
        return out

    def backward(self, target):
        buffer, out = guarded(self.x.shape, 77.0)
        made = levels_of(self.widths, host_target(target))
        addresses = tuple(x.ctypes.data for x in (self.x, self.upstream, out))
        toward_range, toward_shares = made.backward(addresses, self.x.size, self.range, self.shares.tolist())
        assert (buffer[:GUARD] == 77).all()
        assert (buffer[-GUARD:] == 77).all()
        return out, toward_range, toward_shares


def check(case, target):
    average, upstream = case.expected(), case.upstream.astype(np.float64)
    np.testing.assert_allclose(case.forward(target), average.value, rtol=2e-6, atol=1e-6)
    x_grad, toward_range, toward_shares = case.backward(target)
    np.testing.assert_allclose(x_grad, upstream * average.dx, rtol=2e-6, atol=1e-6)
    terms = upstream * average.dx_max
    axis = 1 if len(case.x_max) == len(case.x) else None
    np.testing.assert_allclose(toward_range, terms.sum(axis), rtol=0, atol=1e-6 * (np.abs(terms).sum() + 1))
    levels = [grid.level(case.x, case.x_max[:, None], bits).value for bits in case.widths]
    sums = [(upstream * one).sum() for one in levels]
    sizes = np.abs(upstream * np.stack(levels)).sum() + 1
    np.testing.assert_allclose(toward_shares, sums, rtol=0, atol=1e-6 * sizes)


@pytest.mark.parametrize(("widths", "target"), EACH)
def test_every_size_and_one_range(widths, target):
    lanes = TARGETS[target].lanes
    group = GROUP * lanes
    for size in (0, 1, lanes - 1, lanes, lanes + 1, 2 * lanes + 1, group - 1, group, group + 1, 2 * group + 1, 3000):
        check(Case(widths, 1, size, one=True, seed=size), target)


@pytest.mark.parametrize("shape", [(0, 3), (4, 0), (3, 1), (37, 25), (5, 300)])
@pytest.mark.parametrize(("widths", "target"), EACH)
def test_one_range_a_row(widths, target, shape):
    check(Case(widths, *shape), target)


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("target", HERE)
def test_one_width_is_code_times_step_rounded_once(target, bits):
    case = Case((bits,), 1, 1000, one=True, seed=bits)
    case.x_max[:] = np.float64(np.float16(0.9 / grid.largest_code(bits))) * grid.largest_code(bits)
    found, step = case.forward(target), np.float32(case.range / grid.largest_code(bits))
    codes = np.rint(found.astype(np.float64) / float(step))
    np.testing.assert_array_equal(codes.astype(np.float32) * step, found)
    assert np.abs(codes[case.x != 0]).min() >= 1
    assert np.abs(codes).max() == grid.largest_code(bits)


@pytest.mark.parametrize("target", HERE)
def test_zeros_stay_plus_zero_survivors_survive_and_what_diverged_is_seen(target):
    case = Case((2, 4), 1, 70, one=True)
    case.x[0, :7] = [0.0, -0.0, 1e-30, -1e-30, 5.0, -5.0, np.nan]
    found = case.forward(target)[0]
    assert found[:2].tobytes() == bytes(8)
    assert (np.sign(found[2:6]) == [1, -1, 1, -1]).all()
    np.testing.assert_allclose(np.abs(found[4:6]), case.x_max[0], rtol=1e-6)
    assert np.isnan(found[6])
    _, toward_range, toward_shares = case.backward(target)
    assert np.isnan([toward_range, *toward_shares]).all()


def test_a_planted_fault_is_seen():
    """The oracle above must be able to fail: a range that is a little wider gives other values."""
    case = Case((2, 4), 3, 50)
    check(case, HERE[0])
    case.shares = case.shares[::-1]
    with pytest.raises(AssertionError):
        check(case, HERE[0])
