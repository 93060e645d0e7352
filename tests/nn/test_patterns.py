"""nn.patterns and nn.masks: exactly n of every m, n by tensor as a target allows, at the least energy lost."""

import itertools

import pytest
import torch
from torch import nn

from prepared import EXAMPLE, small_net
from secateur.errors import PlanError, TargetError
from secateur.ir.rules import Prune, Quantize
from secateur.ir.target import Target
from secateur.nn.check import check
from secateur.nn.harden import harden_
from secateur.nn.pack import pack
from secateur.nn.patterns import Patterns, group_counts
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_
from secateur.nn.transform import transforms_of
from secateur.train.budget import Budget


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(8, 20, 3), nn.ReLU(), nn.Flatten(), nn.Linear(20 * 36, 24), nn.ReLU(), nn.Linear(24, 10)
    )


X = torch.randn(2, 8, 8, 8, generator=torch.Generator().manual_seed(1))


def prepared(*, quantize=None, **rule):
    model = net()
    rule = {"method": "balanced", "n": 2, "m": 4} | rule
    return prepare_(model, plan(model, X, prune=Prune(**rule), quantize=quantize))


def counts(site):
    stage = site.transform.prune
    return stage.grouping.counts((site.transform(site.original) != 0).float())


@pytest.mark.parametrize("method", ["balanced", "sr_ste", "top_n"])
@pytest.mark.parametrize(("n", "m", "groups"), [(2, 4, "inputs"), (4, 16, "inputs"), (2, 16, "banks"), (3, 7, "banks")])
def test_hardened_every_group_has_exactly_its_count_and_the_largest(method, n, m, groups):
    model = prepared(method=method, n=n, m=m, groups=groups)
    before = {site.name: site.original.detach().clone() for site in transforms_of(model)}
    result = harden_(model)
    for site, row in zip(transforms_of(model), result.tensors, strict=True):
        stage, w = site.transform.prune, before[site.name]
        kept = torch.tensor(stage.patterns[0].kept(stage.grouping.length), dtype=torch.float32)
        assert torch.equal(counts(site), kept.expand_as(counts(site)))
        assert torch.equal(site.transform(site.original), torch.where(stage.mask, w, 0.0))
        assert row.pattern == str(stage.patterns[0])
        assert row.groups.after[int(kept.max())] > 0
        assert sum(row.groups.after) == sum(row.groups.before) == counts(site).numel()
        rows, mask = stage.grouping.rows(w.abs()), stage.grouping.rows(stage.mask)
        for start in range(0, rows.shape[1], m):
            part, kept_part = rows[:, start : start + m], mask[:, start : start + m]
            least = part.masked_fill(~kept_part, torch.inf).amin(1)
            assert (least >= part.masked_fill(kept_part, -1.0).amax(1)).all()
    assert result.factor == 1.0


def test_the_projection_tells_how_many_weights_it_moved():
    model = prepared()
    learned = {site.name: site.transform.prune.keeps(site.original) for site in transforms_of(model)}
    result = harden_(model, Target(density=0.5))
    for site, row in zip(transforms_of(model), result.tensors, strict=True):
        assert row.moved == int((site.transform.prune.mask != learned[site.name]).sum()) > 0
        assert row.groups == group_counts(site, learned[site.name], site.transform.prune.mask)


def test_at_most_two_in_any_four_besides():
    model = prepared(n=4, m=16, also="2:4")
    harden_(model)
    for site in transforms_of(model):
        mask = site.transform.prune.grouping.rows(site.transform.prune.mask)
        quads = [mask[:, start : start + 4].sum(1) for start in range(0, mask.shape[1], 4)]
        assert torch.stack(quads).max() == 2


@pytest.mark.parametrize("density", [0.2, 0.49, 0.51, 0.75])
def test_another_density_than_the_patterns_is_refused_at_the_door(density):
    model = prepared()
    with pytest.raises(PlanError, match="do not agree"):
        Budget(model, Target(density=density), steps=10)
    with pytest.raises(PlanError, match="do not agree"):
        harden_(model, Target(density=density))


def test_shorter_last_groups_round_up_and_their_density_agrees():
    exact = harden_(prepared(n=4, m=14), Target(density=4 / 14)).density
    assert 4 / 14 < exact < 0.3
    assert harden_(prepared(n=4, m=14), Target(density=exact)).density == exact


@pytest.mark.parametrize("target", [Target(density=0.3), Target(macs=60_000), Target(packed_bytes=24_000)], ids=str)
@pytest.mark.parametrize("example", [None, X])
def test_several_n_stay_within_the_target_and_use_it(target, example):
    model = prepared(n=(1, 2, 4, 8), m=16)
    result = harden_(model, target, example=example)
    chosen = [row.pattern for row in result.tensors]
    assert len(set(chosen)) > 1 or target.density is None
    total = sum(row.size for row in result.tensors)
    if target.density is not None:
        assert result.density <= 0.3
        assert result.density > 0.3 - max(row.size for row in result.tensors) / total / 2
    if target.macs is not None:
        macs = [site.transform.row.reuse * int(site.transform.prune.mask.sum()) for site in transforms_of(model)]
        assert sum(macs) <= target.macs
    if target.packed_bytes is not None:
        assert len(pack(model, X).to_bytes()) <= target.packed_bytes


def test_the_choice_of_n_loses_about_the_least_energy_of_all_that_fit():
    """Against all 64 assignments: no other within the target loses much less."""
    model = prepared(n=(1, 2, 4, 8), m=16)
    sites = transforms_of(model)
    with torch.no_grad():
        sites[0].original.mul_(torch.rand(sites[0].original.shape) ** 4)
    energies = [site.transform.pruned(site.original).detach().double().square() for site in sites]
    scores = [site.transform.prune.score(site.original) for site in sites]
    lost, kept = [], []
    for site, score, energy in zip(sites, scores, energies, strict=True):
        masks = [site.transform.prune.project(score, pattern) for pattern in site.transform.prune.patterns]
        lost.append([float(energy.masked_fill(mask, 0).sum() / energy.sum()) for mask in masks])
        kept.append([int(mask.sum()) for mask in masks])
    total = sum(site.original.numel() for site in sites)
    for density in (0.1, 0.2, 0.3, 0.4):
        found, limit = Patterns(sites, scores, energies), round(density * total)
        found.fit(lambda found=found, limit=limit: "much" if found.kept > limit else "", Target(density=density))
        places = [kept[n].index(int(mask.sum())) for n, mask in enumerate(found.masks.values())]
        energy = sum(lost[n][place] for n, place in enumerate(places))
        fits = [c for c in itertools.product(range(4), repeat=3) if sum(kept[n][p] for n, p in enumerate(c)) <= limit]
        best = min(sum(lost[n][place] for n, place in enumerate(c)) for c in fits)
        assert sum(kept[n][p] for n, p in enumerate(places)) <= limit
        assert energy <= best + 0.25


def test_where_even_the_fewest_are_too_many_it_says_so():
    with pytest.raises(TargetError, match="fewest weights that this plan's patterns allow"):
        harden_(prepared(n=(2, 4), m=16), Target(density=0.05))
    with pytest.raises(TargetError, match="fewest weights that this plan's patterns allow"):
        harden_(prepared(), Target(macs=100))


def test_beside_tensors_without_a_pattern_density_is_exact_to_the_weight():
    model = net()
    rows = plan(model, X, prune=Prune()).replace("3.weight", prune=Prune("balanced", n=(2, 4), m=16))
    result = harden_(prepare_(model, rows), Target(density=0.3))
    total = sum(row.size for row in result.tensors)
    assert sum(row.nonzeros for row in result.tensors) == round(0.3 * total)
    assert [row.pattern for row in result.tensors] == [None, "4:16", None]
    fixed = net()
    rows = plan(fixed, X, prune=Prune()).replace("3.weight", prune=Prune("balanced", n=8, m=16))
    with pytest.raises(TargetError, match="tensors without a pattern"):
        harden_(prepare_(fixed, rows), Target(density=0.05))


@pytest.mark.parametrize("method", ["balanced", "sr_ste", "top_n"])
def test_with_codes_the_file_is_what_was_hardened(method):
    model = prepared(method=method, quantize=Quantize(4))
    result = harden_(model, Target(density=0.5))
    assert [row.bits for row in result.tensors] == [4, 4, 4]
    artifact = pack(model, X)
    assert check(artifact, model, X).relative_difference < 1e-5


def test_a_first_layer_with_one_input_is_kept_and_says_why():
    model = small_net()
    rows = plan(model, EXAMPLE, prune=Prune("balanced", n=2, m=4), quantize=Quantize(4))
    assert rows["0.weight"].prune is None
    assert rows["0.weight"].quantize == Quantize(4)
    assert rows["0.weight"].reason == "no pattern fits: a row of 1, of which 2:4 would cut none"
    banks = rows.replace("0.weight", prune=Prune("balanced", n=2, m=4, groups="banks"))
    assert banks["0.weight"].reason == ""
    assert [row.pattern for row in harden_(prepare_(model, banks)).tensors] == ["2:4 in banks", "2:4", "2:4"]
    other = rows.replace("0.weight", prune=Prune("balanced", n=2, m=4))
    with pytest.raises(PlanError, match="cannot be pruned by balanced"):
        prepare_(small_net(), other)


def test_tables_and_grouped_transposed_convolutions_have_no_groups():
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.up = nn.Embedding(9, 8), nn.ConvTranspose1d(8, 8, 3, groups=2)

        def forward(self, ids):
            return self.up(self.embed(ids).transpose(1, 2))

    rows = plan(Words(), torch.zeros(1, 4, dtype=torch.long), prune=Prune("balanced", n=2, m=4))
    assert "multiplies nothing" in rows["embed.weight"].reason
    assert "no single axis" in rows["up.weight"].reason


def test_transposed_convolutions_and_attention_group_their_inputs():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.attend = nn.ConvTranspose1d(8, 12, 3), nn.MultiheadAttention(12, 2, batch_first=True)

        def forward(self, x):
            y = self.up(x).transpose(1, 2)
            return self.attend(y, y, y)[0]

    model, x = Mixed().eval(), torch.randn(2, 8, 5)
    harden_(prepare_(model, plan(model, x, prune=Prune("balanced", n=1, m=4))))
    up = model.up.weight.detach()
    assert ((up != 0).unflatten(0, (2, 4)).sum(1) == 1).all()
    for weight in (model.attend.in_proj_weight, model.attend.out_proj.weight):
        assert ((weight.detach() != 0).unflatten(1, (3, 4)).sum(2) == 1).all()
    assert check(pack(model, x), model, x).relative_difference < 1e-5
