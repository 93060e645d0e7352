"""train.phases: pruning first, then ranges, then widths; what is only quantized begins at once."""

import pytest

from prepared import prepared, quantized
from secateur.ir.rules import Quantize
from secateur.nn.harden import harden_
from secateur.nn.transform import transforms_of
from secateur.train.phases import BEGIN, COLDEST, LEARN, advance_, learning_from


def stages(model):
    return [site.transform.quantize for site in transforms_of(model)]


def test_phases_of_what_is_pruned():
    model = prepared(quantize=Quantize((2, 4)))
    sites = transforms_of(model)
    advance_(sites, BEGIN - 0.01)
    assert not any(stage.is_on for stage in stages(model))
    for site in sites:
        site.original.data.mul_(3)
    advance_(sites, BEGIN)
    for site, stage in zip(sites, stages(model), strict=True):
        assert stage.is_on
        assert stage.learning is None
        survivors = site.transform.survivors(site.original).abs()
        assert float(stage.x_max().detach()) == pytest.approx(float(survivors.quantile(0.995)), rel=0.2)
    started = [float(stage.x_max().detach()) for stage in stages(model)]
    advance_(sites, LEARN)
    assert [float(stage.x_max().detach()) for stage in stages(model)] == started, "ranges are set once"
    assert all(float(stage.tau) == 1 and stage.learning is not None for stage in stages(model))
    advance_(sites, 1.0)
    assert all(float(stage.tau) == pytest.approx(COLDEST) for stage in stages(model))


@pytest.mark.parametrize("granularity", ["tensor", "channel"])
def test_ranges_stay_within_the_weights_that_survive(granularity):
    model = prepared(quantize=Quantize((2, 4), granularity=granularity))
    sites = transforms_of(model)
    advance_(sites, BEGIN)
    for stage in stages(model):
        stage.log_range.data += 5
    advance_(sites, LEARN)
    for site, stage in zip(sites, stages(model), strict=True):
        rows = site.transform.survivors(site.original).abs().flatten(1)
        largest = rows.amax(1) if granularity == "channel" else rows.max().reshape(1)
        assert stage.x_max().detach().flatten().tolist() == pytest.approx(largest.tolist())
    within = [stage.log_range.detach() - 1 for stage in stages(model)]
    for stage, log_range in zip(stages(model), within, strict=True):
        stage.log_range.data.copy_(log_range)
    advance_(sites, LEARN)
    for stage, log_range in zip(stages(model), within, strict=True):
        assert stage.log_range.detach().equal(log_range), "a range inside is left as it is"


def test_what_is_only_quantized_is_on_from_the_start():
    model = quantized(Quantize((2, 4)))
    assert all(stage.is_on and stage.learning is None for stage in stages(model))
    advance_(transforms_of(model), LEARN)
    assert all(stage.learning is not None for stage in stages(model))


def test_hard_stages_stay_as_they_are():
    model = prepared(quantize=Quantize((2, 4)))
    harden_(model)
    advance_(transforms_of(model), 1.0)
    assert all(stage.is_hard and stage.tau is None for stage in stages(model))


@pytest.mark.parametrize("quantize_at", [0.0, 0.7])
def test_quantizing_begins_where_it_is_told_to(quantize_at):
    model = prepared(quantize=Quantize((2, 4)))
    sites, learn = transforms_of(model), learning_from(quantize_at)
    assert quantize_at < learn < 1
    if quantize_at:
        advance_(sites, quantize_at - 0.01, quantize_at=quantize_at)
        assert not any(stage.is_on for stage in stages(model))
    advance_(sites, learn - 0.01, quantize_at=quantize_at)
    assert all(stage.is_on and stage.learning is None for stage in stages(model))
    advance_(sites, learn, quantize_at=quantize_at)
    assert all(stage.learning is not None and float(stage.tau) == pytest.approx(1) for stage in stages(model))
    advance_(sites, 1.0, quantize_at=quantize_at)
    assert all(float(stage.tau) == pytest.approx(COLDEST) for stage in stages(model))


def test_pruning_alone_leaves_quantizing_to_hardening():
    model = prepared(quantize=Quantize((2, 4)))
    advance_(transforms_of(model), 1.0, quantize_at=1.0)
    assert not any(stage.is_on for stage in stages(model))
    harden_(model)
    assert all(stage.is_hard for stage in stages(model))


def test_half_is_where_widths_learn_as_a_rule():
    assert learning_from(BEGIN) == LEARN == 0.5
