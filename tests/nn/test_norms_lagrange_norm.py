"""nn.norms.lagrange_norm: the layer in training and in evaluation, its options, its state."""

import copy

import pytest
import torch
from torch import nn

from secateur.errors import PlanError, SecateurWarning
from secateur.nn.norms import lagrange_norm
from secateur.nn.norms.lagrange_norm import LagrangeNorm1d, LagrangeNorm2d, LagrangeNorm3d
from secateur.nn.norms.penalty import norm_penalty

X = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def layer(**options):
    made = LagrangeNorm2d(3, **options)
    with torch.no_grad():
        made.weight.copy_(torch.tensor([0.5, 1.0, -2.0]))
        made.bias.copy_(torch.tensor([0.0, 1.0, 0.25]))
    return made


@pytest.mark.parametrize("training", [True, False])
def test_it_is_gain_and_shift_in_both_modes(training):
    made = layer().train(training)
    wanted = X * made.weight.reshape(1, 3, 1, 1) + made.bias.reshape(1, 3, 1, 1)
    torch.testing.assert_close(made(X), wanted)


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        (LagrangeNorm1d, (2, 3)),
        (LagrangeNorm1d, (2, 3, 5)),
        (LagrangeNorm2d, (1, 3, 2, 2)),
        (LagrangeNorm3d, (1, 3, 2, 2, 2)),
    ],
)
def test_each_kind_takes_its_dimensions(kind, shape):
    made, x = kind(3), torch.randn(shape)
    assert torch.equal(made(x), x)
    assert torch.equal(made.eval()(x), x)
    with pytest.raises(ValueError, match=kind.__name__):
        made(torch.randn(2, 4, *shape[2:]))
    with pytest.raises(ValueError, match="dimensions"):
        made(torch.randn(*shape, 1, 1))


def test_an_empty_batch_passes():
    assert layer()(X[:0]).shape == (0, 3, 4, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "agumented"}, "none of augmented, squared, running"),
        ({"variance": 0.0}, "above 0"),
        ({"variance": float("nan")}, "above 0"),
        ({"variance": "train"}, "trained"),
        ({"rho": -1.0}, "rho"),
    ],
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(PlanError, match=message):
        LagrangeNorm2d(3, **options)


def test_a_forgotten_penalty_is_said(monkeypatch):
    monkeypatch.setattr(lagrange_norm, "FORGOTTEN", 3)
    made = layer()
    for _ in range(3):
        made(X)
    with pytest.warns(SecateurWarning, match="norm_penalty"):
        made(X)
    assert len(made.take()) == 1, "what is kept does not grow"


def test_evaluation_and_no_grad_keep_nothing():
    made = layer().eval()
    made(X)
    with torch.no_grad():
        made.train()(X)
    assert made.take() == []


def test_a_layer_between_forward_and_penalty_can_be_copied_and_saved(tmp_path):
    made = nn.Sequential(layer())
    made(X)
    copied = copy.deepcopy(made)
    torch.save(made.state_dict(), tmp_path / "state.pt")
    copied.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert copied[0].take() == []
    assert len(made[0].take()) == 1


def test_statistics_of_a_batch_norm_are_refused():
    norm = nn.BatchNorm2d(3)
    norm(X)
    with pytest.raises(RuntimeError, match="statistics of a batch norm"):
        layer().load_state_dict(norm.state_dict(), strict=False)


def test_it_prints_what_it_is():
    assert repr(LagrangeNorm2d(3, variance="trained")) == (
        "LagrangeNorm2d(3, variance=trained, mode='augmented', rho=0.1)"
    )
    assert "variance=2," in repr(LagrangeNorm1d(3, variance=2.0))


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch 2.13 does it itself
def test_it_compiles_without_a_break_in_evaluation_and_trains_under_compile():
    made = layer()
    compiled = torch.compile(made, backend="aot_eager")
    (compiled(X).sum() + norm_penalty(made)).backward()
    assert made.multipliers.grad is not None
    evaluated = torch.compile(copy.deepcopy(made).eval(), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(evaluated(X), made.eval()(X))
