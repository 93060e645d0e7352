"""Quantize-dequantize of feature maps as generated code, against the definition in numpy, on every target here."""

import numpy as np
import pytest

from kernel_cases import GUARD, HERE, guarded
from secateur.kernels.map_levels import MapWidths, map_levels_of
from secateur.kernels.rows import GROUP
from secateur.kernels.target import TARGETS, host_target
from secateur.maths import grid, map_grid

WIDTHS = [(4,), (2,), (2, 3, 4, 6), (3, 8), tuple(range(2, 9))]
TAU = 0.7
EACH = [(MapWidths(bits, signed), target) for bits in WIDTHS for signed in (True, False) for target in HERE]


class Case:
    """A map and its upstream gradient between NaN."""

    def __init__(self, widths, size, seed=0):
        draw = np.random.default_rng(seed)
        self.widths = widths
        self.x, self.upstream = (guarded((size,))[1] for _ in range(2))
        self.x[:], self.upstream[:] = draw.standard_normal((2, size))
        high = widths.ends[0][1]
        self.step = float(np.float32(1.3 / high))
        self.x_max = self.step * high
        self.theta = draw.standard_normal(len(widths.bits))
        self.shares = grid.shares(self.theta, TAU)

    def expected(self):
        return map_grid.map_average(self.x, self.x_max, self.theta, TAU, self.widths.bits, signed=self.widths.signed)

    def forward(self, target):
        buffer, out = guarded(self.x.shape, 77.0)
        made = map_levels_of(self.widths, host_target(target))
        made.forward((self.x.ctypes.data, out.ctypes.data), self.x.size, self.step, self.shares.tolist())
        assert (buffer[:GUARD] == 77).all()
        assert (buffer[-GUARD:] == 77).all()
        return out

    def backward(self, target):
        buffer, out = guarded(self.x.shape, 77.0)
        made = map_levels_of(self.widths, host_target(target))
        addresses = tuple(x.ctypes.data for x in (self.x, self.upstream, out))
        toward_step, toward_shares = made.backward(addresses, self.x.size, self.step, self.shares.tolist())
        assert (buffer[:GUARD] == 77).all()
        assert (buffer[-GUARD:] == 77).all()
        return out, toward_step, toward_shares


def check(case, target):
    average, upstream = case.expected(), case.upstream.astype(np.float64)
    np.testing.assert_allclose(case.forward(target), average.value, rtol=2e-6, atol=1e-6)
    x_grad, toward_step, toward_shares = case.backward(target)
    np.testing.assert_allclose(x_grad, upstream * average.dx, rtol=2e-6, atol=1e-6)
    high = case.widths.ends[0][1]
    terms = upstream * average.dx_max * high
    np.testing.assert_allclose(toward_step, terms.sum(), rtol=0, atol=2e-6 * (np.abs(terms).sum() + 1) * high)
    levels = [
        map_grid.map_level(case.x, case.x_max, bits, signed=case.widths.signed).value for bits in case.widths.bits
    ]
    sums = [(upstream * one).sum() / case.step for one in levels]
    sizes = np.abs(upstream * np.stack(levels)).sum() / case.step + 1
    np.testing.assert_allclose(toward_shares, sums, rtol=0, atol=1e-6 * sizes)


@pytest.mark.parametrize(("widths", "target"), EACH)
def test_every_size(widths, target):
    lanes = TARGETS[target].lanes
    group = GROUP * lanes
    for size in (0, 1, lanes - 1, lanes, lanes + 1, 2 * lanes + 1, group - 1, group, group + 1, 2 * group + 1, 3000):
        check(Case(widths, size, seed=size), target)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("target", HERE)
def test_one_width_is_the_definition_in_float32_bit_for_bit(target, bits, signed):
    case = Case(MapWidths((bits,), signed), 1000, seed=bits)
    (low, high), step = case.widths.ends[0], np.float32(case.step)
    case.x[:100] = step * (np.random.default_rng(1).integers(low - 2, high + 3, 100) + np.float32(0.5))  # halves
    codes = np.clip(np.floor(case.x / step + np.float32(0.5)), low, high)
    np.testing.assert_array_equal(case.forward(target), codes * step)
    inside = np.floor(case.x / step + np.float32(0.5)) == codes
    np.testing.assert_array_equal(case.backward(target)[0], np.where(inside, case.upstream, 0))


@pytest.mark.parametrize("target", HERE)
def test_what_diverged_is_seen(target):
    case = Case(MapWidths((2, 4), signed=True), 70)
    case.x[6] = np.nan
    assert np.isnan(case.forward(target)).nonzero()[0].tolist() == [6]
    _, toward_step, toward_shares = case.backward(target)
    assert np.isnan([toward_step, *toward_shares]).all()


def test_a_planted_fault_is_seen():
    """The oracle above must be able to fail."""
    case = Case(MapWidths((2, 4), signed=False), 150)
    check(case, HERE[0])
    case.shares = case.shares[::-1]
    with pytest.raises(AssertionError):
        check(case, HERE[0])
