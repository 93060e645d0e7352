"""train.mac_aware: a plan whose thresholds meet the target, kept by prepare_, harden_ and JSON; errors that teach."""

import copy

import pytest
import torch
from torch import nn

from secateur.errors import PlanError, TargetError
from secateur.ir.plan import Plan
from secateur.ir.rules import Prune
from secateur.ir.target import Target
from secateur.maths.pruning_error import ALLOWANCES
from secateur.nn.harden import harden_
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_
from secateur.train.mac_aware import mac_aware

BATCHES = [torch.randn(6, 1, 12, 12, generator=torch.Generator().manual_seed(seed)) for seed in range(2)]
EXAMPLE = BATCHES[0][:2]
HALF = Target(macs=60_000)


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.Flatten(), nn.Linear(1024, 10))


def planned(model, **rule):
    return plan(model, EXAMPLE, prune=Prune(**rule))


def seen(kind):
    return BATCHES if kind == "sensitivity" else None


@pytest.mark.parametrize("kind", ALLOWANCES)
def test_the_limit_holds_and_hardening_cuts_what_the_table_says(kind):
    model = net()
    before = copy.deepcopy(model.state_dict())
    found = mac_aware(model, planned(model), HALF, allowance=kind, batches=seen(kind))
    assert 0.98 * 60_000 < found.macs_after <= 60_000
    assert found.macs_before == sum(row.macs for row in found.layers)
    assert all(row.error <= row.allowance or row.removed == 0 for row in found.layers)
    assert all(row.density >= 0.0499 for row in found.layers)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    hardening = harden_(prepare_(copy.deepcopy(model), Plan.from_json(found.plan.to_json())))
    # float32 thresholds may fall on the other side of a neighbouring weight
    for tensor, row in zip(hardening.tensors, found.layers, strict=True):
        assert tensor.name == row.name
        assert abs(tensor.nonzeros - row.nonzeros) <= 2


def test_the_target_is_exact_with_harden_and_a_factor_of_about_one():
    model = net()
    found = mac_aware(model, planned(model), HALF)
    hardening = harden_(prepare_(model, found.plan), HALF)
    assert hardening.factor == pytest.approx(1, abs=0.01)
    macs = sum(found.plan[row.name].reuse * row.nonzeros for row in hardening.tensors)
    assert 59_000 < macs <= 60_000


def test_a_layer_that_multiplies_more_often_is_cut_more():
    model = net()
    first, second, last = mac_aware(model, planned(model), HALF, allowance="sqrt").layers
    assert first.estimator > last.estimator
    assert second.estimator > last.estimator
    assert last.density > second.density


def test_without_data_what_multiplies_most_is_cut_most_and_small_layers_are_spared():
    model = net()
    first, second, last = mac_aware(model, planned(model), HALF).layers
    assert second.macs > last.macs > first.macs
    assert second.estimator > 2 * max(first.estimator, last.estimator)


def test_a_density_and_the_cap():
    model = net()
    found = mac_aware(model, planned(model), Target(density=0.3), cap=0.8)
    kept, size = sum(row.nonzeros for row in found.layers), sum(row.size for row in found.layers)
    assert 0.29 < kept / size <= 0.3
    assert min(row.density for row in found.layers) >= 0.2
    with pytest.raises(TargetError, match=r"cap of 0\.5 .* raise cap"):
        mac_aware(model, planned(model), Target(density=0.3), cap=0.5)


def test_kept_tensors_count_towards_the_limit():
    model = net()
    rows = planned(model).skip("2")
    kept = rows["2.weight"].macs
    found = mac_aware(model, rows, Target(macs=kept + 5_000))
    assert [row.name for row in found.layers] == ["0.weight", "4.weight"]
    assert kept < found.macs_after <= kept + 5_000
    assert found.plan["2.weight"].prune is None


def test_nothing_goes_where_nothing_has_to():
    model = net()
    found = mac_aware(model, planned(model), Target(density=1.0))
    assert sum(row.removed for row in found.layers) == 0
    assert harden_(prepare_(model, found.plan)).density == 1.0


def test_the_table_tells_every_layer():
    model = net()
    text = str(mac_aware(model, planned(model), HALF))
    assert len(text.splitlines()) == 2 + 3 + 1
    for word in ("MACs", "share", "allowance", "error", "removed", "density", "2.weight", "allowance relative, c "):
        assert word in text


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"allowance": "linaer"}, "did you mean 'linear'"),
        ({"allowance": "sensitivity"}, "needs batches"),
        ({"allowance": "sqrt", "batches": BATCHES}, "looks at no batches"),
        ({"cap": 1.0}, "at most 0.99"),
        ({"cap": 0.0}, "above 0"),
        ({"cap": float("nan")}, "above 0"),
        ({"cap": "0.5"}, r"a number above 0 .* not '0.5'"),
        ({"cap": None}, r"a number above 0 .* not None"),
        ({"allowance": 3}, "allowance=3: expected one of"),
    ],
)
def test_wrong_options_are_told(options, told):
    model = net()
    with pytest.raises(PlanError, match=told):
        mac_aware(model, planned(model), HALF, **options)


@pytest.mark.parametrize(
    ("target", "told"),
    [
        (Target(packed_bytes=900), "one limit"),
        (Target(macs=900, density=0.5), "one limit"),
        (Target(macs=900, max_drop=0.1), "look at no accuracy"),
        (Target(macs=10), "more than the target"),
        (None, r"as in Target\(macs=10_000_000\), not None"),
        (0.5, r"as in Target\(macs=10_000_000\), not 0.5"),
    ],
)
def test_targets_that_it_cannot_meet_are_told(target, told):
    model = net()
    with pytest.raises(TargetError, match=told):
        mac_aware(model, planned(model), target)


def test_plans_that_do_not_fit_are_told():
    model = net()
    with pytest.raises(PlanError, match=r"need a plan, .* not None"):
        mac_aware(model, None, HALF)
    with pytest.raises(PlanError, match="one threshold a tensor"):
        mac_aware(model, planned(model, granularity="channel"), HALF)
    with pytest.raises(PlanError, match="prunes nothing"):
        mac_aware(model, plan(model, EXAMPLE), HALF)
    with pytest.raises(PlanError, match="does not have"):
        mac_aware(nn.Sequential(model[0]), planned(model), HALF)
    nn.init.ones_(model[0].weight)
    with pytest.raises(PlanError, match=r"0\.weight: weights that are all equal"):
        mac_aware(model, planned(model), HALF)
    with torch.no_grad():
        model[0].weight.add_(0.001 * torch.randn(8, 1, 3, 3))
    with pytest.raises(PlanError, match="lie far from zero"):
        mac_aware(model, planned(model), HALF)
