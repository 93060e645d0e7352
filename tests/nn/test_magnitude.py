"""nn.magnitude: SR-STE's gradient as its paper has it, and a mask of the trained weights for good."""

import copy

import pytest
import torch

from secateur.ir.rules import Prune
from secateur.nn.grouping import counts_of
from secateur.nn.magnitude import DECAY, SparseRefined, TopN


def weight():
    return torch.randn(6, 20, generator=torch.Generator().manual_seed(0)).requires_grad_()


@pytest.mark.parametrize("decay", [None, 0.0, 0.05])
def test_the_gradient_is_that_of_what_is_used_and_a_decay_of_the_rest(decay):
    w = weight()
    stage = SparseRefined(w, Prune("sr_ste", n=2, m=4, decay=decay))
    pruned, count = stage.soft(w)
    upstream = torch.randn(w.shape, generator=torch.Generator().manual_seed(1))
    (pruned * upstream).sum().backward()
    mask = stage.keeps(w)
    assert torch.equal(pruned.detach(), torch.where(mask, w.detach(), 0.0))
    expected = upstream + (DECAY if decay is None else decay) * torch.where(mask, 0.0, w.detach())
    torch.testing.assert_close(w.grad, expected)
    assert int(count) == int(mask.sum()) == w.numel() // 2


def test_the_mask_follows_the_weights_until_it_is_hardened():
    w = weight()
    stage = SparseRefined(w, Prune("sr_ste", n=1, m=4))
    before = stage.keeps(w)
    with torch.no_grad():
        w.copy_(torch.where(before, 0.01 * w, w))
    assert not (stage.keeps(w) & before).all()
    stage.harden(before)
    assert torch.equal(stage(w), torch.where(before, w, 0.0))


def test_magnitude_at_once_keeps_the_mask_of_the_trained_weights():
    w = weight()
    stage = TopN(w, Prune("top_n", n=2, m=4))
    mask = stage.keeps(w).clone()
    assert (counts_of(mask.float(), 4) == 2).all()
    with torch.no_grad():
        w.copy_(torch.where(mask, 0.01 * w, w))
    assert torch.equal(stage.soft(w)[0], torch.where(mask, w, 0.0))
    assert torch.equal(stage.project(stage.score(w), stage.patterns[0]), mask), "hardening keeps it"
    other = TopN(w, Prune("top_n", n=2, m=4))
    other.load_state_dict(copy.deepcopy(stage.state_dict()))
    assert torch.equal(other.keeps(w), mask)


@pytest.mark.parametrize(("kind", "method"), [(SparseRefined, "sr_ste"), (TopN, "top_n")])
def test_the_threshold_told_leaves_as_many_as_stay(kind, method):
    w = weight()
    stage = kind(w, Prune(method, n=1, m=4))
    assert int((w.abs() > stage.threshold(w)).sum()) == w.numel() // 4
    assert not list(stage.parameters())
