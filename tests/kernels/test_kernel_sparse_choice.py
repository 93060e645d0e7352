"""kernels.sparse_choice: when the non-zeros alone are summed, what is said of it, and weights that change."""

from dataclasses import replace

import numpy as np
import pytest

from kernel_cases import error, make_layer, result
from secateur.errors import KernelError
from secateur.kernels import sparse_choice
from secateur.kernels.choice import Candidate, Choice, forget_choices
from secateur.kernels.shape import ConvShape
from secateur.kernels.sparse_choice import LEAST_ZEROS, enough_zeros, sparse_error, told_zeros, zeros_of
from secateur.kernels.sparse_cut import SparseCut

SHAPE = ConvShape(1, 12, 12, 16, 16, (3, 3), padding=(1, 1, 1, 1))
FAST, SLOW = 1.0, 2.0


def layer_with(zeros, shape=SHAPE):
    layer = make_layer(shape)
    order = np.random.default_rng(0).permutation(layer.weight.size)
    weight = layer.weight.copy()
    weight.reshape(-1)[order[: round(zeros * weight.size)]] = 0
    return replace(layer, weight=weight)


@pytest.fixture
def won_by(monkeypatch):
    """Decides who wins a measurement; choices made so are forgotten."""

    def decide(sparse):
        def timed(_, runs):
            return [replace(one, microseconds=FAST if bool(one.cut) == sparse else SLOW) for one, _ in runs]

        monkeypatch.setattr(sparse_choice, "timed", timed)

    forget_choices()
    yield decide
    forget_choices()


@pytest.mark.parametrize(("zeros", "step"), [(0.0, 0), (0.69, 0), (0.7, 0.7), (0.749, 0.7), (0.9, 0.9), (1.0, 1.0)])
def test_zeros_in_steps(zeros, step):
    weight = np.ones(1000, np.float32)
    weight[: round(zeros * 1000)] = 0
    assert zeros_of(weight) == pytest.approx(zeros)
    assert enough_zeros(weight) == step
    assert zeros_of(np.zeros(0, np.float32)) == 0.0


@pytest.mark.parametrize("sparse", [True, False])
def test_what_is_faster_is_chosen_and_kept(monkeypatch, won_by, sparse):
    won_by(sparse)
    layer = layer_with(0.92)
    kernel = layer.kernel(None)
    assert (kernel.choice.chosen.algorithm == "sparse") == sparse
    assert kernel.choice.zeros == 0.9
    assert "90% zeros" in kernel.explain()
    assert ("sparse in patches of" in kernel.explain().splitlines()[1]) == sparse
    assert error(result(layer, kernel), layer.expected()) < 3e-5
    assert Choice.from_json(kernel.choice.to_json()) == kernel.choice
    monkeypatch.setattr(sparse_choice, "timed", lambda *_: pytest.fail("measured again"))
    assert layer.kernel(None).choice == kernel.choice
    assert (told_zeros(layer.weight, kernel.choice) == "92%") == sparse


def test_few_zeros_are_not_tried(monkeypatch):
    monkeypatch.setattr(sparse_choice, "timed", lambda *_: pytest.fail("measured"))
    layer = layer_with(LEAST_ZEROS - 0.05)
    choice = layer.kernel(None).choice
    assert choice.zeros == 0
    assert told_zeros(layer.weight, choice) == "65%, sparse from 70% on"
    assert told_zeros(make_layer(SHAPE).weight, choice) == ""


def test_weights_that_change(won_by):
    """Other non-zeros are packed, and a kernel whose zeros are gone or have come is chosen anew."""
    won_by(True)
    before, moved, full = layer_with(0.9), layer_with(0.9), make_layer(SHAPE)
    moved.weight[:] = np.roll(moved.weight, 1, axis=1)
    kernel = before.kernel(None)
    for layer, algorithm in ((moved, "sparse"), (full, None), (layer_with(0.95), "sparse")):
        kernel = kernel.with_weights(layer.weight, layer.bias)
        assert (kernel.choice.chosen.algorithm == "sparse") == (algorithm == "sparse")
        assert error(result(layer, kernel), layer.expected()) < 3e-5


def test_a_caller_may_name_it(monkeypatch):
    layer = layer_with(0.3)
    kernel = layer.kernel("sparse")
    assert kernel.choice.how == "the caller"
    full = make_layer(SHAPE)
    assert error(result(full, kernel.with_weights(full.weight, full.bias)), full.expected()) < 1e-6
    monkeypatch.setattr(sparse_choice, "cuts", lambda *_: [])
    with pytest.raises(KernelError, match="2 GiB"):
        layer.kernel("sparse")


def test_an_error_beyond_the_class_is_not_chosen(monkeypatch, won_by):
    won_by(True)
    monkeypatch.setattr(sparse_choice, "sparse_error", lambda *_: 1.0)
    choice = layer_with(0.9).kernel(None).choice
    assert choice.chosen.algorithm != "sparse"
    assert any(one.cut for one in choice.candidates)


def test_the_error_is_that_of_the_layers_own_weights():
    layer = layer_with(0.9)
    setting = layer.kernel("sparse")._setting
    cut = SparseCut((3, 4), (3, 2), 16)
    assert 0 < sparse_error(setting, layer.weight, cut) < 3e-6
    assert sparse_error(setting, np.zeros_like(layer.weight), cut) == 0
    broken = layer.weight.copy()
    broken[0, 0, 0, 0] = np.nan
    assert not sparse_error(setting, broken, cut) <= 1


def test_what_is_said_where_a_dense_way_is_faster():
    dense = Candidate("direct", None, None, 10.0, 1e-7)
    slower = Candidate("sparse", None, None, 20.0, None, SparseCut((1, 1), (1, 1), 1))
    choice = Choice(dense, (dense, slower), "default", 1.5e-5, "measurement", "now", 0.75)
    assert told_zeros(layer_with(0.75).weight, choice) == "75%, sparse 20 us, direct 10 us"


def test_balanced_kernels_are_told_beside():
    cut = SparseCut((1, 1), (1, 1), 1)
    ways = [
        Candidate("F(4x4,3x3)", None, None, 10.0, 1e-6),
        Candidate("balanced 4:16 float32", None, None, 15.0, 1e-6, arithmetic="float32"),
        Candidate("sparse", None, None, 20.0, None, cut),
        Candidate("sparse", None, None, 25.0, None, cut),
        Candidate("dense int8", None, None, 12.0, 1e-2, arithmetic="dynamic-int8"),
    ]
    weight = layer_with(0.75).weight
    told = {
        one.algorithm: told_zeros(weight, Choice(one, tuple(ways), "default", 1.5e-5, "", "", 0.75)) for one in ways
    }
    assert told["F(4x4,3x3)"] == "75%, balanced 4:16 float32 15 us, sparse 20 us, F(4x4,3x3) 10 us"
    assert told["balanced 4:16 float32"] == told["sparse"] == "75%"
    assert told["dense int8"].endswith("dense int8 12 us")
    half = Choice(ways[0], tuple(ways[:2]), "default", 1.5e-5, "", "", 0.0)
    assert told_zeros(layer_with(0.5).weight, half) == "50%, balanced 4:16 float32 15 us, F(4x4,3x3) 10 us"
