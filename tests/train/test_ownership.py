"""train.ownership: which parameters an optimizer steps, however small the steps."""

import functools
import gc

import pytest
import torch
from torch import nn

from secateur.errors import PlanError
from secateur.train import ownership
from secateur.train.ownership import Ownership

OPTIMIZERS = {
    "plain": torch.optim.SGD,
    "fused": functools.partial(torch.optim.SGD, fused=True),
    "fused Adam": functools.partial(torch.optim.Adam, fused=True),
}


def parameters():
    found = [nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(()))]
    for one in found:
        one.grad = torch.ones_like(one)
    return found


@pytest.mark.parametrize("build", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_step_below_float_resolution_is_a_step(build):
    own = parameters()
    before = [p.detach().clone() for p in own]
    watched = Ownership(own)
    with pytest.raises(PlanError, match="no optimizer stepped it"):
        watched.refuse_forgotten()
    build(own, lr=1e-12).step()
    assert all(torch.equal(p, w) for p, w in zip(own, before, strict=True))
    watched.refuse_forgotten()


@pytest.mark.parametrize("build", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_one_that_is_left_out_is_found_beside_others_that_are_stepped(build):
    own = parameters()
    watched = Ownership(own)
    build(own[:1], lr=0.1).step()
    with pytest.raises(PlanError, match="no optimizer stepped it"):
        watched.refuse_forgotten()
    own[1].grad = None
    watched.refuse_forgotten()


def test_in_the_groups_but_without_a_gradient_in_that_step_it_still_waits():
    own = parameters()
    watched = Ownership(own)
    own[1].grad = None
    torch.optim.SGD(own, lr=0.1, foreach=False).step()
    own[1].grad = torch.ones(())
    with pytest.raises(PlanError, match="no optimizer stepped it"):
        watched.refuse_forgotten()


def test_whoever_changes_a_parameter_has_stepped_it():
    own = parameters()
    watched = Ownership(own)
    own[0].data.sub_(0.1)  # by value alone: this does not count as a change
    with torch.no_grad():
        own[1].sub_(0.0)  # by the count alone
    watched.refuse_forgotten()


def test_nothing_is_watched_for_longer_than_it_has_to():
    gc.collect()
    own, others = parameters(), set(ownership._waiting)
    watched, optimizer = Ownership(own), torch.optim.SGD(own, lr=0.1)
    optimizer.step()
    optimizer.step()
    assert watched not in ownership._waiting
    dropped = Ownership(own)
    del dropped
    gc.collect()
    assert set(ownership._waiting) <= others
