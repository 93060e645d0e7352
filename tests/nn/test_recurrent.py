"""nn.recurrent: what torch does with a parametrized recurrent layer, and what a prepared one does instead."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from secateur.errors import PlanError
from secateur.ir.rules import Prune
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_
from secateur.nn.strip import strip_
from secateur.nn.transform import WeightTransform, transforms_of

X = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
KINDS = pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])


def layer(kind=nn.LSTM, **options):
    torch.manual_seed(0)
    return kind(3, 4, batch_first=True, num_layers=2, bidirectional=True, **options)


def prepared(kind=nn.LSTM, start=1.0, **options):
    model = layer(kind, **options)
    return prepare_(model, plan(model, X, prune=Prune(start=start)))


class Halved(nn.Module):
    def forward(self, w):
        return w / 2


def test_torch_leaves_what_no_deepcopy_takes_and_evaluates_more_than_once(monkeypatch):
    """The fact that nn.recurrent exists for. Where this fails, torch has changed: look whether it is still needed."""
    model, counts = nn.LSTM(3, 4, batch_first=True), []
    monkeypatch.setattr(Halved, "forward", lambda _, w: counts.append(1) or w / 2)
    parametrize.register_parametrization(model, "weight_hh_l0", Halved())
    counts.clear()
    model(X)
    assert len(counts) == 4
    with pytest.raises(RuntimeError, match="deepcopy protocol"):
        copy.deepcopy(model)


@KINDS
def test_a_forward_pass_reads_every_weight_once_and_afresh(kind, monkeypatch):
    model, counts = prepared(kind), []
    forward = WeightTransform.forward
    monkeypatch.setattr(WeightTransform, "forward", lambda self, w: counts.append(self) or forward(self, w))
    before = model(X)[0]
    assert len(counts) == len(set(counts)) == len(transforms_of(model)) == 8
    for site in transforms_of(model):
        changed = copy.deepcopy(model)
        with torch.no_grad():
            changed.get_parameter(f"parametrizations.{site.name}.original").mul_(0)
        assert not torch.equal(changed(X)[0], before), site.name


@KINDS
@pytest.mark.parametrize("hard", [False, True])
def test_outputs_are_those_of_the_pruned_weights(kind, hard):
    model = prepared(kind)
    if hard:
        for site in transforms_of(model):
            site.transform.prune.harden(site.transform.prune.score(site.original) > 1)
    plain = layer(kind)
    with torch.no_grad():
        for site in transforms_of(model):
            plain.get_parameter(site.name).copy_(site.transform(site.original))
    assert torch.equal(model(X)[0], plain(X)[0])
    assert not torch.allclose(model(X)[0], layer(kind)(X)[0], atol=1e-3)


def test_a_transform_that_fails_is_not_taken_for_a_weight_that_is_not_there(monkeypatch):
    model = prepared()
    model(X)

    def broken(*_):
        raise AttributeError("no such thing")

    monkeypatch.setattr(WeightTransform, "forward", broken)
    with pytest.raises(AttributeError, match="weight_ih_l0"):
        model(X)


@KINDS
def test_copies_at_any_moment_are_equal_and_apart(kind):
    model = prepared(kind)
    moments = [
        lambda: None,
        lambda: model(X)[0].sum(),
        lambda: model(X)[0].sum().backward(),
        lambda: model.double().float(),
        lambda: model.eval()(X),
    ]
    for moment in moments:
        moment()
        twin = copy.deepcopy(model)
        assert torch.equal(twin(X)[0], model(X)[0])
        assert not {id(p) for p in twin.parameters()} & {id(p) for p in model.parameters()}
        stripped = strip_(copy.deepcopy(twin))
        assert type(stripped) is kind
        assert torch.equal(copy.deepcopy(stripped)(X)[0], model(X)[0])


@KINDS
@pytest.mark.parametrize("options", [{}, {"bias": False}])
@pytest.mark.parametrize("skip", [(), ("weight_ih_l0", "weight_hh_l1_reverse")])
def test_stripped_keys_stand_in_their_original_order(kind, options, skip):
    model = layer(kind, **options)
    keys = list(model.state_dict())
    prepare_(model, plan(model, X, prune=Prune(), skip=skip))
    before = model(X)[0]
    assert list(strip_(model).state_dict()) == keys
    assert torch.equal(model(X)[0], before)
    assert all(weight is model.get_parameter(key) for key, weight in zip(keys, model._flat_weights, strict=True))


@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_a_projection_is_pruned_too():
    model = prepared(proj_size=2)
    assert {site.name for site in transforms_of(model)} >= {"weight_hr_l0", "weight_hr_l1_reverse"}
    before = model(X)[0]
    assert torch.equal(strip_(copy.deepcopy(model))(X)[0], before)
    before.sum().backward()
    assert all(site.original.grad.abs().sum() > 0 for site in transforms_of(model))


def test_other_parametrizations_stay_when_the_transforms_go():
    model = prepared()
    strip_(model)
    parametrize.register_parametrization(model, "bias_ih_l0", Halved())
    prepare_(model, plan(model, X, prune=Prune(start=1.0)))
    before = model(X)[0]
    strip_(model)
    assert parametrize.is_parametrized(model, "bias_ih_l0")
    assert torch.equal(model(X)[0], before)


def test_a_weight_shared_by_two_layers_has_one_transform():
    model = nn.ModuleList([nn.GRU(3, 3, batch_first=True), nn.GRU(3, 3, batch_first=True)])
    model[1].weight_hh_l0 = model[0].weight_hh_l0
    model.forward = lambda x: model[1](model[0](x)[0])[0]
    prepare_(model, plan(model, X, prune=Prune(start=1.0)))
    assert len(transforms_of(model)) == 3
    before = model(X)
    del model.forward
    strip_(model)
    assert model[0].weight_hh_l0 is model[1].weight_hh_l0
    assert torch.equal(model[1](model[0](X)[0])[0], before)


def test_preparing_twice_is_refused():
    model = prepared()
    with pytest.raises(PlanError, match="already prepared"):
        prepare_(model, plan(layer(), X, prune=Prune()))
