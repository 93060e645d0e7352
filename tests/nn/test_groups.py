"""nn.groups: every trainable parameter once, no decay where it would do harm."""

import pytest
import torch

from prepared import EXAMPLE, Tied, prepared, quantized, small_net
from secateur.errors import PlanError
from secateur.ir.rules import Prune, Quantize
from secateur.nn.groups import RANGE_LR, WIDTH_LR, param_groups
from secateur.nn.map_sites import maps_of
from secateur.nn.norms.lagrange_norm import LagrangeNorm1d
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_


def test_every_trainable_parameter_is_in_exactly_one_group():
    tied = Tied()
    tied = prepare_(tied, plan(tied, torch.tensor([[1]]), prune=Prune()))
    for model in (prepared(), tied, prepared(quantize=Quantize((2, 4))), quantized(Quantize(3))):
        grouped = [p for group in param_groups(model) for p in group["params"]]
        assert sorted(map(id, grouped)) == sorted(id(p) for p in model.parameters())


def test_only_kept_tensors_decay():
    decay = {group["name"]: group["weight_decay"] for group in param_groups(prepared(), weight_decay=0.1)}
    assert decay == {"weights": 0.1, "pruned": 0.0, "thresholds": 0.0}


def test_frozen_weights_stay_out():
    model = prepared()
    model[6].bias.requires_grad_(False)
    assert all(p is not model[6].bias for group in param_groups(model) for p in group["params"])


def test_thresholds_have_their_own_rate():
    groups = {group["name"]: group for group in param_groups(prepared(), threshold_lr=0.5)}
    assert groups["thresholds"]["lr"] == 0.5
    assert "lr" not in groups["weights"]


def test_multipliers_of_norms_are_a_group_without_decay_even_in_a_model_that_is_not_prepared():
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), LagrangeNorm1d(3, variance="trained"))
    groups = {group["name"]: group for group in param_groups(model, weight_decay=0.1)}
    assert list(map(id, groups["multipliers"]["params"])) == list(map(id, model[1].constraints()))
    assert groups["multipliers"]["weight_decay"] == 0
    assert len(groups["weights"]["params"]) == 4


def test_an_unprepared_model_is_refused():
    with pytest.raises(PlanError, match="not prepared"):
        param_groups(small_net())


def test_widths_and_ranges_have_their_own_rates_and_do_not_decay():
    groups = {group["name"]: group for group in param_groups(prepared(quantize=Quantize((2, 4))), weight_decay=0.1)}
    assert [groups[name]["lr"] for name in ("widths", "ranges")] == [WIDTH_LR, RANGE_LR]
    assert [groups[name]["weight_decay"] for name in ("widths", "ranges")] == [0.0, 0.0]
    assert [len(groups[name]["params"]) for name in ("widths", "ranges")] == [3, 3]


def test_what_is_only_quantized_decays_as_other_weights_do():
    groups = {group["name"]: group for group in param_groups(quantized(Quantize(4)), weight_decay=0.1)}
    assert not groups["pruned"]["params"]
    assert not groups["widths"]["params"]
    assert len(groups["weights"]["params"]) == 6


def test_feature_maps_bring_ranges_and_widths_with_or_without_rules_for_weights():
    for rules in ({}, {"prune": Prune(), "quantize": Quantize(4)}):
        model = small_net()
        prepare_(model, plan(model, EXAMPLE, maps=Quantize((4, 8)), **rules))
        groups = {group["name"]: {id(p) for p in group["params"]} for group in param_groups(model)}
        quantizers = [site.quantizer for site in maps_of(model)]
        assert len(quantizers) > 2
        assert {id(quantizer.log_range) for quantizer in quantizers} <= groups["ranges"]
        assert {id(quantizer.theta) for quantizer in quantizers} == groups["widths"], "weights have one width"
        assert set().union(*groups.values()) == {id(p) for p in model.parameters()}
        assert sum(map(len, groups.values())) == len(list(model.parameters()))
