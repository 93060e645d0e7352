"""train.schedule: rates, and what a schedule refuses."""

import math

import pytest
import torch

from prepared import prepared
from secateur.errors import TargetError
from secateur.train.schedule import Schedule, adam, cosine, set_rate, threshold_rate


def test_few_steps_get_a_faster_threshold_and_many_the_measured_rate():
    assert threshold_rate(8600) == 0.01
    assert threshold_rate(440) == pytest.approx(11 / 440)
    assert threshold_rate(1) == 0.1


def test_the_cosine_ends_at_nothing():
    assert (cosine(0), cosine(0.5), cosine(1)) == pytest.approx((1, 0.5, 0))


def test_thresholds_keep_their_own_rate():
    optimizer = adam(prepared(), Schedule(lr=0.5, threshold_lr=0.25), 10)
    set_rate(optimizer, 0.125)
    assert {group["name"]: group["lr"] for group in optimizer.param_groups} == {
        "weights": 0.125, "pruned": 0.125, "thresholds": 0.25,
    }  # fmt: skip
    assert isinstance(optimizer, torch.optim.Adam)


@pytest.mark.parametrize("wrong", [{"prune_epochs": -1}, {"lr": 0.0}, {"average": 1.0}, {"average": -0.1}])
def test_what_makes_no_sense_is_refused(wrong):
    with pytest.raises(TargetError):
        Schedule(**wrong)


@pytest.mark.parametrize("name", ["lr", "threshold_lr", "weight_decay"])
@pytest.mark.parametrize("wrong", [-1.0, math.inf, math.nan])
def test_a_rate_is_finite_and_not_negative(name, wrong):
    with pytest.raises(TargetError, match=name):
        Schedule(**{name: wrong})
    assert getattr(Schedule(**{name: 0.5}), name) == 0.5
