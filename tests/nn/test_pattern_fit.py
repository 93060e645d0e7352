"""nn.pattern_fit: whatever a layer's shape and pattern, the pattern is kept, and least squares leaves less under it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from secateur.ir.pattern import Pattern
from secateur.ir.rules import Prune
from secateur.ir.target import Target
from secateur.maths.mask_search import cubic
from secateur.nn import repair
from secateur.nn.grouping import Grouping
from secateur.nn.pattern_fit import keeping, pattern_mask
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_
from secateur.nn.transform import transforms_of
from secateur.train.one_shot import one_shot_

LAYERS = {
    "linear": (nn.Linear(34, 6), Prune("balanced", n=4, m=16), (34,)),
    "no_bias": (nn.Linear(32, 5, bias=False), Prune("sr_ste", n=2, m=8), (32,)),
    "also": (nn.Linear(32, 6), Prune("top_n", n=4, m=16, also="2:4"), (32,)),
    "conv": (nn.Conv2d(16, 4, 3, padding=1), Prune("balanced", n=1, m=4), (16, 5, 5)),
    "banks": (nn.Conv2d(3, 8, 3), Prune("balanced", n=2, m=9, groups="banks"), (3, 6, 6)),
    "groups": (nn.Conv1d(16, 6, 3, groups=2), Prune("balanced", n=1, m=4), (16, 9)),
}


def cut(name, alike=1.0):
    """The layer, cut at once on inputs that are alike by so much, and the result."""
    layer, prune, shape = LAYERS[name]
    torch.manual_seed(0)
    model = nn.Sequential(type(layer)(**_arguments(layer))).eval()
    mix = torch.randn(6, shape[0])
    batches = [
        torch.einsum("nk...,kc->nc...", alike * torch.randn(99, 6, *shape[1:]), mix) + torch.randn(99, *shape)
        for _ in range(2)
    ]
    prepare_(model, plan(model, batches[0], prune=prune))
    (site,) = transforms_of(model)
    pattern = site.transform.prune.patterns[0]
    density = pattern.kept_in(site.original.numel(), site.transform.prune.grouping.length) / site.original.numel()
    return one_shot_(model, Target(density=density), batches=batches), model


def _arguments(layer):
    if isinstance(layer, nn.Linear):
        return {"in_features": layer.in_features, "out_features": layer.out_features, "bias": layer.bias is not None}
    names = ("in_channels", "out_channels", "kernel_size", "padding", "groups")
    return {name: getattr(layer, name) for name in names}


@pytest.mark.parametrize("name", LAYERS)
def test_the_pattern_is_kept_and_less_is_lost_than_under_the_mask_by_score(name, monkeypatch):
    found, model = cut(name)
    (site,) = transforms_of(model)
    stage = site.transform.prune
    mask = stage.mask
    assert torch.equal(stage.grouping.project(mask.float(), stage.patterns[0]), mask)
    assert (found.tensors[0].pattern, found.tensors[0].nonzeros) == (str(stage.patterns[0]), int(mask.sum()))
    monkeypatch.setattr(repair, "pattern_mask", lambda *_: None)
    by_score, other = cut(name)
    assert found.layers[0].after < 0.9 * by_score.layers[0].after
    assert found.layers[0].before == pytest.approx(by_score.layers[0].before)
    moved = int((mask != transforms_of(other)[0].transform.prune.mask).sum())
    assert moved > 0
    assert found.tensors[0].moved > 0


def test_a_mask_that_loses_more_is_not_taken(monkeypatch):
    with monkeypatch.context() as context:
        context.setattr(repair, "pattern_mask", lambda *_: None)
        by_score, wanted = cut("linear", alike=0.0)

    def smallest(site, *_):
        stage = site.transform.prune
        return stage.grouping.project(-site.original.abs(), stage.patterns[0])

    monkeypatch.setattr(repair, "pattern_mask", smallest)
    found, model = cut("linear", alike=0.0)
    assert found.layers == by_score.layers
    assert torch.equal(model[0].weight, wanted[0].weight)


def test_without_a_pattern_there_is_nothing_to_search():
    model = nn.Sequential(nn.Linear(16, 4))
    prepare_(model, plan(model, torch.ones(1, 16), prune=Prune()))
    (site,) = transforms_of(model)
    site.transform.prune.harden(torch.rand(4, 16) > 0.5)
    assert pattern_mask(site, [np.eye(17)], [np.zeros((4, 17))], [0.1]) is None


@pytest.mark.parametrize("also", [None, "2:4"])
def test_on_the_way_ever_fewer_stay_and_the_bias_always(also):
    pattern = Pattern(4, 16, also)
    keep = keeping(Grouping.of((3, 40), 0, pattern), pattern)
    scores = np.random.default_rng(0).random((3, 41))
    counts = []
    for step in range(21):
        mask = keep(scores, cubic(step / 20))
        assert mask[:, -1].all()
        counts.append(int(mask[:, :-1].sum()))
    assert counts[0] == 120
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 3 * sum(pattern.kept(40))
    halves = replace(pattern, n=2, m=4, also=None)
    if also:
        last = torch.from_numpy(keep(scores, 1.0)[:, :-1])
        assert last.reshape(3, -1, 4).sum(2).max() <= halves.n
