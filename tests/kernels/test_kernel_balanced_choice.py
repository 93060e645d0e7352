"""Which layers with one tap may run as balanced matrices or on bytes, and what is measured of that."""

import numpy as np
import pytest

from balanced_matrices import random_balanced
from secateur.errors import KernelError
from secateur.kernels import balanced_choice
from secateur.kernels.balanced_choice import BYTE_ERROR, BYTES, FLOAT, balanced_count
from secateur.kernels.choice import Choice, forget_choices
from secateur.kernels.conv import Conv2dKernel, ConvOptions
from secateur.kernels.shape import ConvShape, convolve

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
        (ConvShape(1, 6, 6, 64, 48, (3, 3)), {"algorithm": "balanced"}, "needs one tap"),
        (ConvShape(1, 6, 6, 64, 48, (1, 1), (2, 2)), {"algorithm": "balanced"}, "needs one tap"),
    ],
)
def test_what_does_not_fit_is_refused(shape, options, told):
    with pytest.raises(KernelError, match=told):
        Conv2dKernel(shape, np.ones(shape.weight_shape, np.float32), options=ConvOptions(**options))
