"""nn.harden: exact to the weight, kept weights untouched, limits respected, impossible wishes refused."""

import pytest
import torch

from prepared import EXAMPLE, prepared, small_net
from secateur.errors import PlanError, TargetError
from secateur.ir.plan import Prune
from secateur.ir.target import Target
from secateur.nn.harden import harden_
from secateur.nn.measure import packed_bytes
from secateur.nn.transform import transforms_of

TOTAL = 36 + 576 + 48


def nonzeros(model):
    return sum(int((site.transform(site.original) != 0).sum()) for site in transforms_of(model))


@pytest.mark.parametrize("density", [0.001, 0.02, 0.333, 0.5, 1.0])
def test_density_is_exact_to_the_weight(density):
    model = prepared()
    result = harden_(model, Target(density=density))
    assert nonzeros(model) == max(1, round(density * TOTAL))
    assert result.density == pytest.approx(nonzeros(model) / TOTAL)


def test_ties_are_broken_by_index():
    model = prepared()
    for site in transforms_of(model):
        site.original.data.copy_(site.transform.prune.alpha().expand_as(site.original))
    harden_(model, Target(density=10 / TOTAL))
    kept = torch.cat([site.transform.prune.mask.flatten() for site in transforms_of(model)])
    assert kept[:10].all()
    assert not kept[10:].any()


def test_kept_weights_keep_their_values():
    model = prepared()
    before = [site.original.detach().clone() for site in transforms_of(model)]
    harden_(model, Target(density=0.3))
    for site, w in zip(transforms_of(model), before, strict=True):
        assert torch.equal(site.transform(site.original), torch.where(site.transform.prune.mask, w, 0.0))


def test_without_a_target_the_learned_thresholds_decide():
    model = prepared(Prune(start=1.0))
    result = harden_(model)
    for site, row in zip(transforms_of(model), result.tensors, strict=True):
        expected = site.original.abs() > site.transform.prune.alpha()
        assert torch.equal(site.transform.prune.mask, expected)
        assert row.moved == 0
        assert row.nonzeros == int(expected.sum())


def test_a_larger_score_always_stays_before_a_smaller_one():
    model = prepared(Prune(granularity="channel", start=0.7))
    scores = torch.cat([s.transform.prune.score(s.original).flatten() for s in transforms_of(model)])
    result = harden_(model, Target(density=0.25))
    kept = torch.cat([s.transform.prune.mask.flatten() for s in transforms_of(model)])
    assert scores[kept].min() >= scores[~kept].max()
    assert result.factor == pytest.approx(float(scores[kept].min()))


def test_macs_are_an_upper_limit_that_is_used_up():
    model = prepared()
    reuse = {site.name: site.transform.row.reuse for site in transforms_of(model)}
    harden_(model, Target(macs=500))
    macs = sum(reuse[s.name] * int(s.transform.prune.mask.sum()) for s in transforms_of(model))
    assert 500 - max(reuse.values()) < macs <= 500


def test_packed_bytes_are_an_upper_limit():
    model = prepared()
    harden_(model, Target(packed_bytes=1200, values="float16"))
    masks = {site.name: site.transform.prune.mask for site in transforms_of(model)}
    assert 1100 < packed_bytes(model, masks, "float16") <= 1200


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (Target(density=0.5, macs=10), "macs, the limit is 10"),
        (Target(packed_bytes=20), "packed bytes, the limit is 20"),
    ],
)
def test_impossible_targets_are_refused_and_leave_the_model_soft(target, message):
    model = prepared()
    with pytest.raises(TargetError, match=message):
        harden_(model, target)
    assert not any(site.transform.is_hard for site in transforms_of(model))


def test_a_diverged_model_is_refused():
    model = prepared()
    transforms_of(model)[1].original.data[0, 0] = float("nan")
    with pytest.raises(TargetError, match="diverged"):
        harden_(model, Target(density=0.5))


def test_unprepared_and_twice():
    with pytest.raises(PlanError, match="not prepared"):
        harden_(small_net())
    model = prepared()
    harden_(model)
    with pytest.raises(PlanError, match="already hardened"):
        harden_(model)


def test_pruned_weights_stay_pruned_through_training():
    model = prepared()
    harden_(model, Target(density=0.2))
    masks = [site.transform.prune.mask.clone() for site in transforms_of(model)]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(EXAMPLE).square().sum().backward()
        optimizer.step()
    for site, mask in zip(transforms_of(model), masks, strict=True):
        assert not site.transform(site.original)[~mask].any()


def test_a_model_in_channels_last_stays_in_it():
    model = prepared().to(memory_format=torch.channels_last)
    weights = [site.original for site in transforms_of(model)]
    harden_(model, Target(density=0.2))
    for site, w in zip(transforms_of(model), weights, strict=True):
        assert site.transform(w).stride() == w.stride()
