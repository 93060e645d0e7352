"""compression.explaining: where a loss on validation data came from."""

import math
from types import SimpleNamespace

import pytest

from secateur.compression.explaining import went_back, why
from secateur.train.record import Record

DENSE = 0.9


def line(direction=1):
    return SimpleNamespace(score_dense=DENSE, drop=lambda found: direction * (DENSE - found), unscored="")


def passed(*epochs, hard=0.8, kept=None):
    """epochs: (phase, loss, score)"""
    history = tuple(
        Record(phase, number, loss, score, {}, {}, {}) for number, (phase, loss, score) in enumerate(epochs)
    )
    fitted = SimpleNamespace(history=history, hardening=None, score_soft=0.82, score_hard=hard, kept_epoch=kept)
    return SimpleNamespace(fitted=fitted, score=history[-1].score)


FORGOT = passed(("prune", 0.4, 0.89), ("prune", 0.1, 0.84), ("finetune", 0.02, 0.8))
TOO_FEW = passed(("prune", 0.4, 0.89), ("prune", 0.9, 0.75), ("finetune", 0.8, 0.76))


@pytest.mark.parametrize("drop", [0.0, 0.01, -0.2])
def test_a_point_or_less_is_not_explained(drop):
    assert why(line(), FORGOT, drop) == []


def test_a_loss_that_falls_while_the_score_does_is_learning_by_heart():
    told = why(line(), FORGOT, DENSE - FORGOT.score)
    assert "lost 0.1 on validation" in told[0]
    assert "by heart: from epoch 1 of prune on its loss fell from 0.4 to 0.02" in told[1]
    assert "from 0.89 to 0.8" in told[1]


def test_a_loss_that_rises_is_too_few_weights():
    told = why(line(), TOO_FEW, DENSE - TOO_FEW.score)
    assert "too few for this network and data" in told[1]


def test_a_cut_without_learned_thresholds_is_told_as_one():
    told = why(line(), passed(("finetune", 0.8, 0.76), ("finetune", 0.7, 0.76), hard=0.7), DENSE - 0.76)
    assert told[0].endswith("more than one point: 0.2 right after the cut, 0.14 after fine-tuning")
    assert "no thresholds were learned" in told[1]
    assert "self-pruning" not in told[0]


def test_a_score_whose_smaller_value_is_better_keeps_its_direction():
    worse = passed(("prune", 0.4, 0.91), ("finetune", 0.02, 1.5))
    assert "by heart" in why(line(-1), worse, 0.6)[1]
    assert "by heart" not in "".join(why(line(-1), FORGOT, 0.6))


def test_what_was_not_measured_is_said():
    assert "the metric gave NaN" in why(line(), FORGOT, math.nan)[0]


def test_which_network_is_in_the_file():
    tuned = [("finetune", 0.1, 0.8), ("finetune", 0.1, 0.86), ("finetune", 0.1, 0.79)]
    assert went_back(passed(*tuned)) == []
    assert (
        "worse on validation (0.79) than the network was after epoch 2 (0.86)" in went_back(passed(*tuned, kept=1))[0]
    )
    assert "was before it (0.87)" in went_back(passed(*tuned, hard=0.87, kept=-1))[0]
