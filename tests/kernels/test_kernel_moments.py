"""Mean and variance of channels as generated code, against float64, in both memory orders on every target here."""

import numpy as np
import pytest

from kernel_cases import GUARD, HERE, guarded
from secateur.kernels.moments import MAPS, READ, WRITTEN, moments_of
from secateur.kernels.target import TARGETS

SHAPES = [(1, 1, 1), (2, 3, 49), (1, 16, 196), (3, 48, 50), (4, 17, 1), (1, 2, 1000)]


class Case:
    """Values (batch, channels, positions) in one of the orders between NaN, gradients of them and a channel."""

    def __init__(self, shape, mean, order, target):
        self.order, self.target, self.shape = order, target, shape
        draw = np.random.default_rng(sum(shape))
        self.x = draw.standard_normal(shape).astype(np.float32) + np.float32(mean)
        self.mean_grad, self.variance_grad = draw.standard_normal((2, shape[1])).astype(np.float32)
        self.y = draw.standard_normal(shape).astype(np.float32)
        wide = self.x.astype(np.float64)
        self.mean, self.variance = wide.mean((0, 2)), wide.var((0, 2))

    def run(self, name, *numbers):
        """What a pass writes, the map first; nothing else is touched."""
        batch, channels, positions = self.shape
        shape, sizes = (batch, channels, positions), (batch, channels, positions)
        if self.order == "last":
            shape, sizes = (batch, positions, channels), (1, batch * positions, channels)
        read = [guarded(shape)[1], *(guarded((channels,))[1] for _ in READ[name])]
        for place, value in zip(read, [self.ordered(self.x), *numbers], strict=True):
            place[:] = value
        maps = [guarded(shape, 77.0) for _ in MAPS[name][1]]
        if name == "added":
            maps[0][1][:] = self.ordered(self.y)
        rows = [guarded((channels,), 77.0) for _ in WRITTEN[name]]
        arrays = [read[0], *(one for _, one in maps), *read[1:], *(one for _, one in rows)]
        getattr(moments_of(TARGETS[self.target]), f"{self.order}_{name}")(*(one.ctypes.data for one in arrays), *sizes)
        for buffer, _ in (*maps, *rows):
            assert (buffer[:GUARD] == 77).all()
            assert (buffer[-GUARD:] == 77).all()
        return [*(self.ordered(one) for _, one in maps), *(one for _, one in rows)]

    def ordered(self, values):
        return values.swapaxes(1, 2) if self.order == "last" else values


def check(case, fault=0.0):
    mean, variance = case.run("forward")
    np.testing.assert_allclose(mean, case.mean, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(variance, case.variance + fault, rtol=1e-5, atol=1e-6)
    (x_grad,) = case.run("backward", mean, case.mean_grad, case.variance_grad)
    apart = case.x - case.mean[:, None]
    wanted = (case.mean_grad[:, None] + 2 * case.variance_grad[:, None] * apart) / (case.x.size // len(mean))
    np.testing.assert_allclose(x_grad, wanted, rtol=0, atol=1e-6 * (5 + np.abs(case.x).max()))
    (added,) = case.run("added", mean, case.mean_grad, case.variance_grad)
    np.testing.assert_array_equal(added, case.y + x_grad)


@pytest.mark.parametrize("target", HERE)
@pytest.mark.parametrize("order", ["by_channel", "last"])
@pytest.mark.parametrize("mean", [0.0, 300.0])
def test_the_passes_are_those_of_float64(target, order, mean):
    for shape in SHAPES:
        check(Case(shape, mean, order, target))


def test_a_planted_fault_is_found():
    with pytest.raises(AssertionError):
        check(Case((2, 3, 49), 0.0, "by_channel", HERE[0]), fault=1e-3)


@pytest.mark.parametrize("order", ["by_channel", "last"])
def test_what_is_no_number_is_seen(order):
    case = Case((1, 2, 49), 0.0, order, HERE[0])
    case.x[0, 1, 5] = np.inf
    mean, variance = case.run("forward")
    assert np.isfinite([mean[0], variance[0]]).all()
    assert not np.isfinite(mean[1])
    assert np.isnan(variance[1])
