"""bridge.deciding: one layer, replaced or left for a reason that is said."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from bridge_cases import CLOSE, apart, exact
from secateur.bridge import deciding
from secateur.bridge.accelerated_conv import AcceleratedConv
from secateur.bridge.deciding import decided
from secateur.bridge.timing import Comparison
from secateur.bridge.trial import Site, Trial
from secateur.kernels import sparse_choice
from secateur.kernels.choice import forget_choices

X = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def conv():
    torch.manual_seed(0)
    return nn.Conv2d(4, 8, 3, padding=1)


@pytest.mark.parametrize("faster", [True, False])
def test_what_is_measured_decides(monkeypatch, faster):
    monkeypatch.setattr(deciding, "compare", lambda *_, **__: Comparison(10.0, 5.0, faster))
    row, made = decided(Site("c", conv()), X, None, Trial(measure=True))
    assert (row.before_us, row.after_us) == (10.0, 5.0)
    assert (made is not None) == faster == (row.algorithm is not None)
    assert ("not faster by more than noise" in row.reason) == (not faster)
    assert row.error < CLOSE
    assert row.class_error <= 1.5e-5


@pytest.mark.parametrize("kind", ["none", "relu", "relu6", "leaky_relu"])
@pytest.mark.parametrize("residual", [True, False])
def test_both_sides_of_the_measurement_compute_the_same(monkeypatch, kind, residual):
    seen = []

    def compare(before, after, *, seconds):
        seen.append(apart(after(), before().double()))
        return Comparison(1.0, 1.0, False)

    monkeypatch.setattr(deciding, "compare", compare)
    other = torch.randn(1, 8, 8, 8) if residual else None
    decided(Site("c", conv(), kind, 0.2), X, other, Trial(measure=True))
    assert seen[0] < CLOSE


@pytest.mark.parametrize("sparse", [True, False])
def test_zeros_are_used_where_that_is_faster(monkeypatch, sparse):
    def timed(_, runs):
        return [replace(one, microseconds=1.0 if bool(one.cut) == sparse else 2.0) for one, _ in runs]

    monkeypatch.setattr(sparse_choice, "timed", timed)
    forget_choices()
    layer = conv()
    layer.weight.data[:, 1:] = 0
    row, made = decided(Site("c", layer, "relu"), X, None, Trial(measure=False))
    forget_choices()
    assert (row.algorithm == "sparse") == sparse
    assert row.zeros.startswith("75%")
    assert ("sparse 2 us" in row.zeros) != sparse
    assert apart(made(X), exact(layer, X).relu()) < CLOSE


def test_like_layers_with_other_zeros_are_measured_again(monkeypatch):
    compared = []
    monkeypatch.setattr(deciding, "compare", lambda *_, **__: compared.append(0) or Comparison(10.0, 5.0, True))
    trial, layers = Trial(), [conv() for _ in range(3)]
    layers[2].weight.data[:, 1:] = 0
    for layer in layers:
        decided(Site("c", layer), X, None, trial)
    assert len(compared) == 2


def test_an_error_on_the_layers_own_data_refuses(monkeypatch):
    monkeypatch.setattr(deciding, "OWN_DATA_MARGIN", 1e-9)
    row, made = decided(Site("c", conv()), X, None, Trial(measure=False))
    assert made is None
    assert "has an error of " in row.reason
    assert "above 1.5e-14" in row.reason


def test_a_wrong_kernel_is_refused(monkeypatch):
    monkeypatch.setattr(AcceleratedConv, "forward", lambda self, x, residual=None: torch.zeros(1, 8, 8, 8))
    row, made = decided(Site("c", conv()), X, None, Trial(measure=False))
    assert made is None
    assert row.error > 0.1


def test_the_error_is_measured_on_part_of_a_large_layer(monkeypatch):
    whole = decided(Site("c", conv()), X, None, Trial(measure=False))[0].error
    monkeypatch.setattr(deciding, "CHECKED_MACS", 4 * 8 * 9 * 8 * 3)
    part = decided(Site("c", conv()), X, None, Trial(measure=False))[0].error
    assert 0 < part < CLOSE
    assert part != whole


def test_a_parametrized_layer_is_taken_as_it_is():
    class Twice(nn.Module):
        def forward(self, w):
            return 2 * w

    layer = conv()
    parametrize.register_parametrization(layer, "weight", Twice())
    _, made = decided(Site("c", layer), X, None, Trial(measure=False))
    plain = conv()
    plain.weight.data *= 2
    assert apart(made(X), exact(copy.deepcopy(plain), X)) < CLOSE


@pytest.mark.parametrize(("x", "reason"), [(X.double(), "float64"), (X[:0], "empty")])
def test_input_no_kernel_takes(x, reason):
    row, made = decided(Site("c", conv()), x, None, Trial(measure=False))
    assert made is None
    assert reason in row.reason
