"""train.best_epoch: the best state is gone back to where the last one is worse by more than noise, and only there."""

import math

import pytest
import torch
from torch import nn

from secateur.train.best_epoch import MARGIN, UNTUNED, BestEpoch


def layer(value: float) -> nn.Module:
    made = nn.Linear(1, 1)
    nn.init.constant_(made.weight, value)
    return made


def seen(scores):
    """What epochs of these scores leave, with weights 0, 1, 2, ..."""
    best = BestEpoch()
    for epoch, score in enumerate(scores):
        best.see(layer(epoch), epoch, score)
    return best


def test_a_worse_end_gives_way_to_the_best_epoch():
    model, best = layer(9.0), seen([0.8, 0.9, 0.85])
    assert best.return_(model, 0.85)
    assert (best.epoch, model.weight.item()) == (1, 1.0)


def test_less_than_the_margin_is_noise():
    model = layer(9.0)
    assert not seen([0.9, 0.8]).return_(model, 0.9 - 0.9 * MARGIN)
    assert model.weight.item() == 9.0


def test_the_margin_grows_with_scores_beyond_one():
    assert not seen([30.0]).return_(layer(9.0), 29.9)
    assert seen([30.0]).return_(layer(9.0), 29.8)
    assert seen([-30.0]).return_(layer(9.0), -30.2)


def test_of_equal_ones_it_is_the_later():
    assert seen([0.9, 0.9, 0.5]).epoch == 1


@pytest.mark.parametrize("scores", [[], [math.nan, math.nan]])
def test_without_a_score_nothing_is_gone_back_to(scores):
    model, best = layer(9.0), seen(scores)
    assert not best.return_(model, math.nan)
    assert best.epoch == UNTUNED
    assert model.weight.item() == 9.0


def test_the_state_is_a_copy():
    model, best = layer(1.0), BestEpoch()
    best.see(model, 0, 0.9)
    nn.init.constant_(model.weight, 2.0)
    assert best.return_(model, 0.1)
    assert model.weight.item() == 1.0


def test_a_saved_state_goes_on():
    again = BestEpoch()
    again.load_state_dict(seen([0.8, 0.9, 0.7]).state_dict())
    assert (again.epoch, again.score) == (1, 0.9)
    model = layer(9.0)
    assert again.return_(model, 0.7)
    assert torch.equal(model.weight, torch.ones(1, 1))
