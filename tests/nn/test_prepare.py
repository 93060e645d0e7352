"""nn.prepare: all or nothing, and everything that would fail silently is refused by name."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from prepared import EXAMPLE, Tied, prepared, small_net
from secateur.errors import PlanError
from secateur.ir.plan import Plan
from secateur.ir.plan_rows import TensorPlan
from secateur.ir.rules import Prune, Quantize
from secateur.nn.map_sites import maps_of
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_
from secateur.nn.transform import all_ends, transforms_of


def test_the_planned_weights_and_only_they_are_transformed():
    model = small_net()
    prepare_(model, plan(model, EXAMPLE, prune=Prune(), skip=("4",)))
    assert [site.name for site in transforms_of(model)] == ["0.weight", "6.weight"]


def test_preparing_has_an_effect_on_the_output():
    """The oldest silent no-op: a rule that changes nothing."""
    assert not torch.allclose(prepared(Prune(start=2.0))(EXAMPLE), small_net()(EXAMPLE), atol=1e-3)


def test_gradients_reach_weights_and_thresholds():
    model = prepared(Prune("threshold", form="analytic"))
    model(EXAMPLE).square().sum().backward()
    for site in transforms_of(model):
        assert site.original.grad.abs().sum() > 0
        assert site.transform.prune.alpha_raw.grad.abs().sum() > 0
        assert site.transform.prune.beta_raw.grad.abs().sum() > 0


def test_tied_weights_are_transformed_at_every_end():
    model = Tied()
    prepare_(model, plan(model, torch.tensor([[1, 2]]), prune=Prune(start=1.0)))
    assert [path for path, *_ in all_ends(model)] == ["embed", "head"]
    assert len(transforms_of(model)) == 1
    assert model.embed.weight.equal(model.head.weight)
    assert model.embed.parametrizations.weight.original is model.head.parametrizations.weight.original
    assert not model.head.weight.equal(model.head.parametrizations.weight.original)


def test_a_tie_the_plan_does_not_know_is_refused():
    model = Tied()
    untied = Plan(tuple(dataclasses.replace(r, tied=()) for r in plan(model, torch.tensor([[1]]), prune=Prune())))
    with pytest.raises(PlanError, match="one tensor with"):
        prepare_(model, untied)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda m, p: p.replace("*", prune=None), "silent no-op"),
        (lambda m, p: Plan((*p.tensors, TensorPlan("4.wait", "Linear", (2, 2)))), "did you mean '4.weight'"),
        (lambda m, p: Plan(tuple(dataclasses.replace(r, shape=(9, 9)) for r in p)), "has shape"),
        (lambda m, p: Plan(tuple(dataclasses.replace(r, prune=Prune()) for r in p)), "0.bias cannot be pruned"),
        (lambda m, p: (m[4].weight.data.fill_(float("nan")), p)[1], "NaN"),
        (lambda m, p: (m[4].weight.data.zero_(), p)[1], "all zero"),
    ],
)
def test_a_plan_that_does_not_fit_changes_nothing(spoil, message):
    model = small_net()
    bad = spoil(model, plan(model, EXAMPLE, prune=Prune()))
    keys = list(model.state_dict())
    with pytest.raises(PlanError, match=message):
        prepare_(model, bad)
    assert list(model.state_dict()) == keys


def test_preparing_twice_is_refused():
    model = prepared()
    with pytest.raises(PlanError, match="already prepared"):
        prepare_(model, plan(small_net(), EXAMPLE, prune=Prune()))


def test_the_weight_stays_the_very_parameter_an_optimizer_may_hold():
    model = small_net()
    before = model[4].weight
    prepare_(model, plan(model, EXAMPLE, prune=Prune()))
    assert model[4].parametrizations.weight.original is before


def test_weights_of_one_scale_get_a_threshold_all_the_same():
    model = nn.Sequential(nn.Linear(3, 3, bias=False))
    nn.init.constant_(model[0].weight, 0.5)
    prepare_(model, plan(model, torch.randn(1, 3), prune=Prune()))
    assert torch.isfinite(model(torch.ones(1, 3))).all()


def test_scales_that_are_powers_of_two():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
    rule = Quantize(4, scale="power_of_two")
    prepare_(model, plan(model, torch.randn(2, 8), quantize=rule, maps=rule))
    model.train()(torch.randn(2, 8))
    for site in maps_of(model):
        site.quantizer.start()
        site.quantizer.harden(4)
    for site in transforms_of(model):
        site.transform.quantize.harden(4)
    scales = [float(site.quantizer.scale()) for site in maps_of(model)]
    scales += [float(site.transform.grid().scale) for site in transforms_of(model)]
    assert len(scales) == 4
    assert all(math.frexp(scale)[0] == 0.5 for scale in scales)
