"""train.sensitivity: the change of the output against a direct computation, masks restored, bad outputs refused."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from prepared import EXAMPLE, prepared
from secateur.errors import DataError
from secateur.maths.allocation import ranks
from secateur.nn.transform import transforms_of
from secateur.train import sensitivity
from secateur.train.sensitivity import DENSITIES, curves, divergence, squared_change


@torch.no_grad()
def whole():
    model = prepared().eval()
    for site in transforms_of(model):
        site.transform.prune.harden(torch.ones_like(site.original, dtype=torch.bool))
    return model


def orders(model):
    return [ranks(np.abs(site.original.detach().double().numpy())) for site in transforms_of(model)]


@torch.no_grad()
def test_a_curve_is_the_change_when_one_layer_alone_is_cut():
    model, told = whole(), []
    found = curves(model, orders(model), [(EXAMPLE,), (2 * EXAMPLE,)], "error", lambda *now: told.append(now))
    assert [now[:2] for now in told] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    site, order, curve = transforms_of(model)[1], orders(model)[1], found[1]
    assert curve.kept.tolist() == sorted({round(d * 576) for d in DENSITIES} | {576})
    assert curve.change[-1] == 0
    for kept, change in zip(curve.kept[:-1], curve.change, strict=False):
        cut = whole()
        transforms_of(cut)[1].transform.prune.mask = torch.from_numpy(order < kept)
        x = torch.cat([EXAMPLE, 2 * EXAMPLE])
        lost = (cut(x) - model(x)).square().sum() / model(x).square().sum()
        assert change == pytest.approx(float(lost), rel=1e-4)
    assert site.transform.prune.mask.all()


@torch.no_grad()
def test_divergence_is_that_of_the_classes():
    logits, dense = torch.randn(4, 3), torch.randn(4, 3)
    total, samples = divergence(logits, dense)
    p, q = F.softmax(dense, 1), F.softmax(logits, 1)
    assert total / samples == pytest.approx(float((p * (p / q).log()).sum(1).mean()), rel=1e-5)
    assert divergence(dense, dense + 7)[0] == pytest.approx(0, abs=1e-6)
    assert squared_change(dense, dense) == (0.0, pytest.approx(float(dense.square().sum())))


class Odd(nn.Module):
    """Gives something else than a finite tensor."""

    def __init__(self, given):
        super().__init__()
        self.inner, self.given = whole(), given

    def forward(self, x):
        return self.given(self.inner(x))


@pytest.mark.parametrize(
    ("given", "message"),
    [(lambda y: y.argmax(1), "no floating-point tensor"), (lambda y: y / 0 * 0, "batch 0.*NaN")],
)
@torch.no_grad()
def test_outputs_that_say_nothing_are_refused(given, message):
    model = Odd(given)
    with pytest.raises(DataError, match=message):
        curves(model, orders(model), [(EXAMPLE,)], "error", lambda *_: None)


@torch.no_grad()
def test_outputs_in_containers_count_alike():
    plain, nested = whole(), Odd(lambda y: {"a": (y, [y]), "b": y.argmax(1)})
    given = [(EXAMPLE,)]
    for a, b in zip(
        curves(plain, orders(plain), given, "error", lambda *_: None),
        curves(nested, orders(nested), given, "error", lambda *_: None),
        strict=True,
    ):
        np.testing.assert_allclose(a.change, b.change, rtol=1e-5)


@torch.no_grad()
def test_measuring_stops_at_enough_inputs(monkeypatch):
    monkeypatch.setattr(sensitivity, "SAMPLES", 3)
    model = whole()
    batches = [(EXAMPLE,), (2 * EXAMPLE,), (5 * EXAMPLE,)]
    found = curves(model, orders(model), batches, "error", lambda *_: None)
    expected = curves(model, orders(model), batches[:2], "error", lambda *_: None)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a.change, b.change)
