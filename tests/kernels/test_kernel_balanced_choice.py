"""Which layers may run on kernels for balanced weights or on bytes, and what is measured of that."""

from dataclasses import replace

import numpy as np
import pytest

from balanced_matrices import random_balanced
from secateur.errors import KernelError
from secateur.kernels import balanced_choice
from secateur.kernels.balanced_choice import BYTE_ERROR, BYTES, FLOAT, balanced_count, has_ways, with_balanced
from secateur.kernels.choice import DIRECT, Choice, forget_choices
from secateur.kernels.conv import Conv2dKernel, ConvOptions
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.runnable import Setting
from secateur.kernels.shape import ConvShape, convolve
from secateur.kernels.target import host_target

SHAPE = ConvShape(1, 1, 6, 64, 48, (1, 1))
WEIGHT = random_balanced(48, 64, 4).reshape(SHAPE.weight_shape)
X = np.random.default_rng(0).standard_normal(SHAPE.input_shape, np.float32)


def test_patterns_that_are_worth_a_kernel():
    assert [balanced_count(random_balanced(16, 64, count)) for count in (1, 2, 4, 8)] == [1, 2, 4, 8]
    assert balanced_count(np.ones((4, 64), np.float32)) is None
    assert balanced_count(np.ones((4, 8), np.float32)) is None, "few columns, all of them there"
    assert balanced_count(np.zeros((4, 64), np.float32)) is None
    lonely = np.zeros((16, 64), np.float32)
    lonely[0, :8] = 1
    assert balanced_count(lonely) is None, "eight of sixteen by chance"
    assert balanced_count(np.zeros((0, 64), np.float32)) is None


@pytest.mark.parametrize(("activations", "name"), [(FLOAT, "balanced 4:16 float32"), (BYTES, "balanced 4:16 int8")])
def test_forced(activations, name):
    kernel = Conv2dKernel(SHAPE, WEIGHT, options=ConvOptions(algorithm="balanced", activations=activations))
    assert kernel.choice.chosen.algorithm == name
    error = np.abs(kernel(X) - convolve(SHAPE, X, WEIGHT)).max() / np.abs(convolve(SHAPE, X, WEIGHT)).max()
    assert error < (1e-6 if activations == FLOAT else BYTE_ERROR)
    assert name in kernel.explain()


def taps_weight(shape, count=4):
    """n of 16 along the input channels of every tap."""
    k, c, r, s = shape.weight_shape
    return np.ascontiguousarray(random_balanced(k * r * s, c, count).reshape(k, r, s, c).transpose(0, 3, 1, 2))


@pytest.mark.parametrize(("taps", "stride"), [((3, 3), (1, 1)), ((5, 5), (2, 2)), ((1, 1), (2, 2)), ((1, 3), (1, 2))])
@pytest.mark.parametrize(("activations", "name"), [(FLOAT, "balanced 4:16 float32"), (BYTES, "balanced 4:16 int8")])
def test_convolutions_of_several_taps(taps, stride, activations, name):
    shape = ConvShape(2, 9, 8, 40, 24, taps, stride, padding=(1, 1, 0, 1))
    weight, x = taps_weight(shape), np.random.default_rng(1).standard_normal(shape.input_shape, np.float32)
    assert balanced_count(weight) == 4
    assert has_ways(shape, weight, activations)
    kernel = Conv2dKernel(shape, weight, options=ConvOptions(algorithm="balanced", activations=activations))
    assert kernel.choice.chosen.algorithm == name
    assert kernel.packed_bytes > 0
    wanted = convolve(shape, x, weight)
    error = np.abs(kernel(x) - wanted).max() / np.abs(wanted).max()
    assert error < (1e-6 if activations == FLOAT else BYTE_ERROR)
    assert 0 < (kernel.choice.chosen.error or 0) < (1e-5 if activations == FLOAT else BYTE_ERROR)


def test_what_several_taps_have_no_kernels_for():
    shape = ConvShape(1, 6, 6, 64, 48, (3, 3))
    assert not has_ways(shape, np.ones(shape.weight_shape, np.float32), BYTES), "dense ones have none on bytes"
    across = np.zeros(shape.weight_shape, np.float32)
    across[:, :, 0, 0] = 1
    assert balanced_count(across) is None, "one tap is full, though each channel has one of nine"
    grouped = ConvShape(1, 6, 6, 64, 48, (3, 3), groups=2)
    assert not has_ways(grouped, taps_weight(grouped), BYTES)


def test_weights_that_leave_the_pattern_with_as_many_zeros(monkeypatch):
    """As many zeros as before, but one group has five: another way is chosen, and nothing is lost."""
    monkeypatch.setattr(balanced_choice, "timed", by_arithmetic)
    monkeypatch.setattr(balanced_choice, "read_object", lambda _: None)
    kernel = Conv2dKernel(SHAPE, WEIGHT)
    assert kernel.choice.chosen.algorithm == "balanced 4:16 float32"
    moved = WEIGHT.copy()
    moved[0, :, 0, 0] = np.roll(np.sort(moved[0, :, 0, 0]), 3)
    assert balanced_count(moved) is None
    other = kernel.with_weights(moved)
    assert other.choice.chosen.arithmetic is None
    np.testing.assert_allclose(other(X), convolve(SHAPE, X, moved), rtol=1e-4, atol=1e-4)
    assert other.with_weights(WEIGHT).choice.chosen.arithmetic == FLOAT


def test_an_error_in_8_bits_is_that_of_the_weights_and_the_callers_business(monkeypatch):
    """What was measured for some weights holds for others of the shape, but not the error; the largest is let pass."""
    forget_choices()
    rough = 2 * WEIGHT
    monkeypatch.setattr(balanced_choice, "timed", bytes_first)
    monkeypatch.setattr(balanced_choice, "_error", lambda _, weight, kind: 2.0 if weight is rough else len(kind) / 1e4)
    setting, choice = Setting(SHAPE, Epilogue(), host_target(None), 1), Choice(DIRECT, (DIRECT,), "default", 1.5e-5, "")
    for weight, error in ((rough, 2.0), (WEIGHT, len(BYTES) / 1e4), (rough, 2.0)):
        found = with_balanced(setting, weight, (choice, Nothing()), BYTES)
        assert (found.chosen.arithmetic, found.chosen.error) == (BYTES, error)
        assert found.chosen in found.candidates
        assert error > BYTE_ERROR or weight is WEIGHT


class Nothing:
    """A way that is not run."""

    def run(self, source, target, residual=0):
        raise AssertionError


def bytes_first(_setting, ways):
    """Kernels on bytes win."""
    return [replace(one, microseconds=1.0 if one.arithmetic == BYTES else 2.0) for one, _ in ways]


def by_arithmetic(_setting, ways):
    """Kernels for balanced weights win."""
    return [replace(one, microseconds=1.0 if one.arithmetic else 2.0) for one, _ in ways]


def test_dense_weights_in_8_bits():
    weight = np.random.default_rng(1).standard_normal(SHAPE.weight_shape, np.float32)
    weight[3] = 0
    kernel = Conv2dKernel(SHAPE, weight, options=ConvOptions(algorithm="balanced", activations=BYTES))
    assert kernel.choice.chosen.algorithm == "dense int8"
    wanted = convolve(SHAPE, X, weight)
    assert 1e-4 < np.abs(kernel(X) - wanted).max() / np.abs(wanted).max() < BYTE_ERROR


def test_measured_beside_the_others_and_kept(monkeypatch):
    forget_choices()
    kernel = Conv2dKernel(SHAPE, WEIGHT)
    names = {one.algorithm for one in kernel.choice.candidates}
    assert {"balanced 4:16 float32"} < names
    assert Choice.from_json(kernel.choice.to_json()) == kernel.choice
    monkeypatch.setattr(balanced_choice, "timed", lambda *_: pytest.fail("measured again"))
    assert Conv2dKernel(SHAPE, WEIGHT).choice == kernel.choice


@pytest.mark.parametrize(
    ("shape", "options", "told"),
    [
        (SHAPE, {"activations": "int3"}, "is none of float32, dynamic-int8"),
        (ConvShape(1, 6, 6, 64, 48, (3, 3)), {"algorithm": "balanced"}, "of 16 input channels"),
        (ConvShape(1, 6, 6, 64, 48, (1, 1), (2, 2)), {"algorithm": "balanced"}, "of 16 input channels"),
        (ConvShape(1, 6, 6, 64, 48, (3, 3), groups=2), {"algorithm": "balanced"}, "one group"),
    ],
)
def test_what_does_not_fit_is_refused(shape, options, told):
    with pytest.raises(KernelError, match=told):
        Conv2dKernel(shape, np.ones(shape.weight_shape, np.float32), options=ConvOptions(**options))
