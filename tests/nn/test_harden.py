"""nn.harden: exact to the weight, kept weights untouched, limits respected, impossible wishes refused."""

import pytest
import torch
from torch import nn

from prepared import EXAMPLE, prepared, quantized, small_net
from secateur.errors import PlanError, TargetError
from secateur.ir.formats import on_grid
from secateur.ir.rules import Prune, Quantize
from secateur.ir.target import Target
from secateur.nn.harden import harden_
from secateur.nn.masks import _around
from secateur.nn.measure import ESTIMATED, packed_bytes
from secateur.nn.pack import pack
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_
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


def dying_net():
    """Two thirds of its hidden units have incoming weights that go first, and outgoing ones that would stay."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(40, 60), nn.ReLU(), nn.Linear(60, 40), nn.ReLU(), nn.Linear(40, 10))
    with torch.no_grad():
        model[0].weight[20:] *= 0.05
        model[2].weight[:, 20:] *= 2
    return prepare_(model, plan(model, torch.zeros(2, 40), prune=Prune()))


@pytest.mark.parametrize("target", [Target(packed_bytes=5000), Target(macs=1500), Target(packed_bytes=9000, macs=1400)])
def test_with_an_example_the_room_of_dead_units_is_used(target):
    x = torch.zeros(2, 40)
    packed = {}
    for example in (None, x):
        model = dying_net()
        harden_(model, target, example=example)
        artifact = pack(model, x)
        weights = sum(tensor.nonzeros for name, tensor in artifact.tensors.items() if "weight" in name)
        packed[example is None] = (len(artifact.to_bytes()), weights)
    limits = (target.packed_bytes or 10**9, target.macs or 10**9)
    assert max(found / limit for found, limit in zip(packed[True], limits, strict=True)) < 0.85
    assert 0.97 < max(found / limit for found, limit in zip(packed[False], limits, strict=True)) <= 1


def _hard(model):
    harden_(model, Target(density=1.0))
    return model


def test_with_an_example_a_limit_counts_what_is_really_packed():
    """The estimate allows 256 bytes for a header that takes less, and its result says that it decided."""
    whole = pack(_hard(dying_net()), torch.zeros(2, 40)).to_bytes()
    target = Target(packed_bytes=len(whole))
    measured, estimated = harden_(dying_net(), target, example=torch.zeros(2, 40)), harden_(dying_net(), target)
    assert (measured.density, measured.notes) == (1, ())
    assert estimated.density < 1
    assert estimated.notes == (ESTIMATED,)
    assert harden_(dying_net(), Target(density=0.5)).notes == ()
    exact = Target(density=1.0, packed_bytes=len(whole))
    assert harden_(dying_net(), exact, example=torch.zeros(2, 40)).density == 1
    with pytest.raises(TargetError, match="packed bytes, the limit is"):
        harden_(dying_net(), Target(density=1.0, packed_bytes=len(whole) - 1), example=torch.zeros(2, 40))
    with pytest.raises(
        TargetError, match=r"bytes by an estimate \(with an example or batches the file is measured\), the limit"
    ):
        harden_(dying_net(), Target(density=1.0, packed_bytes=len(whole)))
    with pytest.raises(TargetError, match="even with every pruned weight gone"):
        harden_(dying_net(), Target(packed_bytes=20), example=torch.zeros(2, 40))


@pytest.mark.parametrize("most", [0, 1, 7, 250, 999, 1000])
@pytest.mark.parametrize("guess", [0, 1, 100, 640, 1000])
def test_the_search_around_a_guess_finds_the_largest_that_holds(most, guess):
    asked = []

    def excess(count):
        asked.append(count)
        return "" if count <= most else "too many"

    found = _around(excess, guess, 1000)
    assert most - max(0, most // 250) <= found <= most
    assert len(asked) < 22
    assert not asked or max(asked) <= 1000


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (Target(density=0.5, macs=10), "macs, the limit is 10"),
        (Target(packed_bytes=20), r"packed bytes by an estimate .*, the limit is 20"),
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


def test_widths_are_the_most_probable_and_the_rows_tell_them():
    model = prepared(quantize=Quantize({2, 4, 8}))
    for site, best in zip(transforms_of(model), (0, 1, 2), strict=True):
        site.transform.quantize.theta.data[best] = 1.0
    result = harden_(model, Target(density=0.5))
    assert [row.bits for row in result.tensors] == [2, 4, 8]
    assert result.average_bits == pytest.approx(
        sum(row.bits * row.nonzeros for row in result.tensors) / sum(row.nonzeros for row in result.tensors)
    )


@pytest.mark.parametrize("granularity", ["tensor", "channel"])
def test_hardened_weights_lie_on_their_grid_bit_for_bit(granularity):
    for model in (prepared(quantize=Quantize((2, 5), granularity)), quantized(Quantize((2, 5), granularity))):
        harden_(model, Target(packed_bytes=700, values="float16"))
        for site in transforms_of(model):
            w = site.transform(site.original).detach().numpy()
            assert on_grid(w, site.transform.grid()).to_dense().tobytes() == w.tobytes()


def test_bytes_of_a_joint_plan_are_met_by_the_number_kept():
    model = prepared(quantize=Quantize(4))
    harden_(model, Target(packed_bytes=640, values="float16"))
    masks = {site.name: site.transform.prune.mask for site in transforms_of(model)}
    assert 600 < packed_bytes(model, masks, "float16") <= 640


def test_bytes_are_met_by_narrower_widths_where_nothing_is_pruned():
    model = quantized(Quantize((2, 8)))
    at_most = packed_bytes(model, {}, "float16", {site.name: 8 for site in transforms_of(model)})
    at_least = packed_bytes(model, {}, "float16", {site.name: 2 for site in transforms_of(model)})
    limit = (at_most + at_least) // 2
    result = harden_(model, Target(packed_bytes=limit, values="float16"))
    assert packed_bytes(model, {}, "float16") <= limit
    assert {row.bits for row in result.tensors} != {2}, "no narrower than needed"
    assert not any(row.pruned for row in result.tensors)
    assert result.density == 1.0
    assert result.factor == 1.0


def test_a_density_and_bytes_hold_together_by_narrower_widths():
    model = prepared(quantize=Quantize((2, 8)))
    result = harden_(model, Target(density=0.5, packed_bytes=600, values="float16"))
    masks = {site.name: site.transform.prune.mask for site in transforms_of(model)}
    assert nonzeros(model) == round(0.5 * TOTAL)
    assert packed_bytes(model, masks, "float16") <= 600
    assert result.average_bits < 8


@pytest.mark.parametrize("limit", [2.5, 4.0, 7.3])
def test_average_bits_are_an_upper_limit_that_is_used_up(limit):
    model = prepared(quantize=Quantize((2, 8)))
    found = harden_(model, Target(density=0.6, average_bits=limit)).average_bits
    assert limit - 1 < found <= limit


def test_impossible_widths_are_refused():
    with pytest.raises(TargetError, match="4 bits a weight is the least"):
        harden_(prepared(quantize=Quantize((4, 6))), Target(average_bits=3))
    with pytest.raises(TargetError, match="quantizes none"):
        harden_(prepared(), Target(average_bits=3))
    with pytest.raises(TargetError, match="prunes none"):
        harden_(quantized(Quantize(4)), Target(density=0.5))
