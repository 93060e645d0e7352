"""train.costs: differentiable costs against counting by hand; every wish of a Target has its row."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from prepared import EXAMPLE, prepared, quantized
from secateur.ir.rules import Quantize
from secateur.ir.target import Target
from secateur.nn.harden import harden_
from secateur.nn.measure import packed_bytes as real_bytes
from secateur.nn.pack import pack
from secateur.nn.packing import Packing
from secateur.nn.transform import transforms_of
from secateur.train.costs import COSTS, Layers, coded, fixed_bytes


def layers_of(model, target):
    sites = transforms_of(model)
    return Layers.of(sites, fixed_bytes(model, target), target.value_bits)


def test_every_wish_has_a_cost():
    assert set(COSTS) == {f.name for f in dataclasses.fields(Target)} - {"values", "max_drop"}


def test_hard_costs_equal_counting():
    model = prepared()
    harden_(model, Target(density=0.3))
    layers = layers_of(model, Target(density=0.3))
    kept = [int((site.transform(site.original) != 0).sum()) for site in transforms_of(model)]
    assert float(COSTS["density"](layers)) == pytest.approx(sum(kept) / 660)
    assert float(COSTS["macs"](layers)) == 36 * kept[0] + kept[1] + kept[2]


@pytest.mark.parametrize("density", [0.05, 0.3, 0.9])
@pytest.mark.parametrize("quantize", [None, Quantize(2), Quantize(4), Quantize(8)])
def test_the_byte_cost_is_an_upper_bound_on_the_real_size(density, quantize):
    model, target = prepared(quantize=quantize), Target(packed_bytes=10_000, values="float16")
    harden_(model, Target(density=density))
    masks = {site.name: site.transform.prune.mask for site in transforms_of(model)}
    bound = float(COSTS["packed_bytes"](layers_of(model, target)))
    real = real_bytes(model, masks, "float16")
    assert real <= bound + 8 * len(masks), "a few bytes a tensor are coding overhead"
    assert bound < 1.6 * real


def test_costs_of_what_is_only_quantized():
    model, target = quantized(Quantize({2, 8})), Target(packed_bytes=10_000, values="float16")
    layers = layers_of(model, target)
    assert float(COSTS["average_bits"](layers)) == pytest.approx(5)
    assert float(COSTS["packed_bytes"](layers)) == pytest.approx(fixed_bytes(model, target) + 660 * 5 / 8)


@pytest.mark.parametrize("name", ["packed_bytes", "average_bits"])
def test_costs_pull_every_width_down_once_it_learns(name):
    model = prepared(quantize=Quantize((2, 8)))
    stages = [site.transform.quantize for site in transforms_of(model)]
    for site in transforms_of(model):
        site.transform.quantize.start(site.transform.survivors(site.original))
    cost = COSTS[name](layers_of(model, Target(packed_bytes=10_000)))
    assert all(stage.theta.grad is None for stage in stages)
    for stage in stages:
        stage.learn(1.0)
    cost = COSTS[name](layers_of(model, Target(packed_bytes=10_000)))
    cost.backward()
    for stage in stages:
        assert (stage.theta.grad.diff() > 0).all(), "the widest is pushed down most"
    if name == "average_bits":
        alphas = [site.transform.prune.alpha_raw.grad for site in transforms_of(model)]
        assert not any(grad.any() for grad in alphas if grad is not None), "no pruning to lower an average"


@pytest.mark.parametrize("name", [name for name in COSTS if name not in ("average_bits", "largest_map_bytes")])
def test_costs_pull_every_threshold_up(name):
    model = prepared()
    model(EXAMPLE)
    COSTS[name](layers_of(model, Target(packed_bytes=10_000, values="float16"))).backward()
    assert all(site.transform.prune.alpha_raw.grad.item() < 0 for site in transforms_of(model))


def test_the_byte_cost_survives_an_empty_tensor():
    model = prepared()
    with torch.no_grad():
        transforms_of(model)[0].original.zero_()
        transforms_of(model)[0].transform.prune.floor.fill_(50.0)
    cost = COSTS["packed_bytes"](layers_of(model, Target(packed_bytes=10_000)))
    cost.backward()
    assert torch.isfinite(cost)
    assert all(p.grad.isfinite().all() for s in transforms_of(model) for p in s.transform.parameters())


def test_what_was_measured_makes_the_byte_cost_exact():
    model, target = prepared(quantize=Quantize(3)), Target(packed_bytes=10_000, values="float16")
    sites = transforms_of(model)
    for site in sites:
        site.transform.prune.floor.fill_(59.0)
        site.transform.quantize.start(site.transform.survivors(site.original))
    beside, found = coded(model, sites, fixed_bytes(model, target), target)
    assert (beside, 0.5 < found < 1) == (fixed_bytes(model, target), True)
    masks = {site.name: site.original.abs() > site.transform.prune.alpha() for site in sites}
    cost = COSTS["packed_bytes"](Layers.of(sites, fixed_bytes(model, target), 16, found))
    assert float(cost.detach()) == pytest.approx(real_bytes(model, masks, "float16"), rel=0.02)


@pytest.mark.parametrize("sort", [False, True])
def test_with_an_example_what_dead_units_take_does_not_count(sort):
    model, target = prepared(quantize=Quantize(3)), Target(packed_bytes=10_000, values="float16")
    sites, fixed = transforms_of(model), fixed_bytes(model, target)
    with torch.no_grad():
        sites[1].original[:8] = 0  # nobody makes half of the hidden units
        for site in sites:
            site.transform.prune.floor.fill_(59.0)
            site.transform.quantize.start(site.transform.survivors(site.original))
    beside, found = coded(model, sites, fixed, target, Packing(model, EXAMPLE, "float16", sort=sort))
    bound = coded(model, sites, fixed, target)
    assert beside < bound[0] - 8
    assert found < bound[1]
    cost = COSTS["packed_bytes"](Layers.of(sites, beside, 16, found))
    harden_(model)
    assert float(cost.detach()) == pytest.approx(
        len(pack(model, EXAMPLE, values="float16", sort=sort).to_bytes()), rel=0.02
    )


def test_where_no_byte_is_of_a_weight_nothing_is_learned_from_it():
    model, target = prepared(), Target(packed_bytes=10_000)
    empty = SimpleNamespace(parts=lambda _: (280, 0))
    assert coded(model, transforms_of(model), 300, target, empty) == (300, 1.0)
