"""Quantize(level="value"): the whole line with weights averaged over grid values, and where it is refused."""

import numpy as np
import pytest
import torch
from torch import nn

import secateur as sct
from prepared import EXAMPLE, prepared, small_net
from secateur.errors import PlanError
from secateur.maths.value_grid import WARMEST, value_average
from secateur.nn.transform import transforms_of
from secateur.nn.value_quantize import ValueQuantize

RULE = sct.Quantize((2, 5), level="value")


def test_is_the_average_over_values_while_it_learns_and_rounds_once_hard():
    w = torch.randn(6, 7, generator=torch.Generator().manual_seed(0))
    stage = ValueQuantize(w, RULE)
    assert stage(w) is w
    stage.start(w)
    stage.learn(0.4)
    theta, end = stage.theta.detach().numpy(), float(stage.log_range.detach().exp())
    expected = value_average(w.numpy(), end, (theta, 0.4), stage.widths, 0.4 * WARMEST).value
    np.testing.assert_allclose(stage(w).detach(), expected, atol=1e-4)
    stage.harden(3)
    assert torch.equal(stage(w), stage.nearest(w, 3))


def test_a_model_trains_hardens_packs_and_comes_back():
    model = small_net()
    plan = sct.plan(model, EXAMPLE, prune=sct.Prune(), quantize=RULE)
    assert "by value" in str(plan)
    assert sct.Plan.from_json(plan.to_json()) == plan
    sct.prepare_(model, plan)
    target = sct.Target(packed_bytes=350, values="int8")
    budget = sct.Budget(model, target, steps=40)
    optimizer = torch.optim.Adam(sct.param_groups(model), lr=1e-3)
    for _ in range(40):
        loss = nn.functional.cross_entropy(model(EXAMPLE), torch.tensor([0, 1])) + budget()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        budget.step(2)
    stages = [site.transform.quantize for site in transforms_of(model)]
    assert all(isinstance(stage, ValueQuantize) and stage.is_on for stage in stages)
    soft = model(EXAMPLE).detach()
    sct.harden_(model, target, example=EXAMPLE)
    artifact = sct.pack(model, EXAMPLE, values="int8")
    assert len(artifact.to_bytes()) <= 350
    restored = sct.restore_(small_net(), artifact)
    torch.testing.assert_close(restored(EXAMPLE), model(EXAMPLE), atol=2e-2, rtol=0)
    assert not torch.equal(soft, model(EXAMPLE))


def test_a_state_goes_on_in_the_same_place():
    states = []
    for _ in range(2):
        model = prepared(quantize=RULE)
        for site in transforms_of(model):
            site.transform.quantize.start(site.original)
            site.transform.quantize.learn(0.3)
        states.append(model)
    first, second = states[0], prepared(quantize=RULE)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(EXAMPLE), second(EXAMPLE))


def test_feature_maps_are_averaged_over_widths_alone():
    with pytest.raises(PlanError, match="level"):
        sct.plan(small_net(), EXAMPLE, maps=RULE)
    with pytest.raises(PlanError, match="did you mean 'value'"):
        sct.Quantize(4, level="values")
