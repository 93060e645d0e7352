"""Elementwise kernels with sums: every element once, nothing outside, sums as accurate as is said."""

import numpy as np
import pytest

from kernel_cases import GUARD, HERE, guarded
from secateur.kernels.build import CodeUnit, built
from secateur.kernels.rows import GROUP, RowKernel, rows_module
from secateur.kernels.target import TARGETS

SHAPES = [(0, 5), (3, 0), (1, 1), (2, 3), (70, 9)]


def step(constants, inputs):
    (factor, shift), (a, b) = constants, inputs
    f = a.code
    y = f.fma(a, factor, shift)
    return [y, a * b], [y, b]


KERNEL = RowKernel("blend", ("a", "b"), ("y", "z"), constants=2, sums=2, step=step)


def blend(target, a, b, constants):
    """y and z between guards, and the sums."""

    def emit():
        return rows_module([KERNEL], TARGETS[target])

    code = built(CodeUnit("rows test", ("blend",), target, emit), TARGETS[target])
    (yb, y), (zb, z) = guarded(a.shape, 77.0), guarded(a.shape, 77.0)
    sums = KERNEL.loaded(code)([x.ctypes.data for x in (a, b, y, z)], a.size, constants)
    for buffer in (yb, zb):
        assert (buffer[:GUARD] == 77).all()
        assert (buffer[-GUARD:] == 77).all()
    return y, z, np.transpose(sums)


def check(target, rows, columns, fault=0.0):
    draw = np.random.default_rng(rows + columns)
    a, b = (guarded((rows, columns))[1] for _ in range(2))
    a[:], b[:] = draw.standard_normal((2, rows, columns))
    constants = draw.standard_normal((rows, 2)).astype(np.float32)
    y, z, sums = blend(target, a, b, list(constants.T))
    wanted = a.astype(np.float64) * constants[:, :1] + constants[:, 1:]
    wanted[1:2] += fault
    np.testing.assert_allclose(y, wanted, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(z, a * b)
    found = np.stack([y.sum(1, dtype=np.float64), b.sum(1, dtype=np.float64)], 1)
    sizes = np.stack([np.abs(y).sum(1, dtype=np.float64), np.abs(b).sum(1, dtype=np.float64)], 1)
    assert (np.abs(sums - found) <= 2.0**-23 * sizes).all()


@pytest.mark.parametrize("target", HERE)
def test_every_length_of_a_row(target):
    lanes = TARGETS[target].lanes
    group = GROUP * lanes
    for columns in (0, 1, lanes - 1, lanes, lanes + 1, 2 * lanes + 1, group - 1, group, group + 1, 2 * group + 1, 1000):
        check(target, 2, columns)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("target", HERE)
def test_every_number_of_rows(target, shape):
    check(target, *shape)


def test_long_sums_keep_their_accuracy():
    """A sum in float32 would stand still at 2^24."""
    a = np.ones((1, (1 << 24) + 4099), np.float32)
    _, _, sums = blend(HERE[0], a, a, [1.0, 0.0])
    assert sums.tolist() == [a.size, a.size]


def test_a_planted_fault_is_seen():
    """The oracle above must be able to fail: with one constant of one row a little off."""
    check(HERE[0], 3, 9)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check(HERE[0], 3, 9, fault=1e-3)
