"""nn.prune_stage: what every stage can be asked, and the state that says whether it is hard."""

import pytest
import torch

from secateur.ir.pattern import Pattern
from secateur.ir.rules import Prune
from secateur.nn.prune_stage import PruneStage
from secateur.nn.transform import PRUNING

RULES = {method: Prune(method, **({} if method == "threshold" else {"n": 1, "m": 4})) for method in PRUNING}
methods = pytest.mark.parametrize("method", PRUNING)


def made(method):
    w = torch.randn(5, 10, generator=torch.Generator().manual_seed(0))
    return PRUNING[method](w, RULES[method]), w


@methods
def test_hard_and_soft_travel_in_the_state(method):
    stage, w = made(method)
    assert isinstance(stage, PruneStage)
    assert "mask" not in stage.state_dict()
    stage.harden(stage.keeps(w))
    other, _ = made(method)
    other.load_state_dict(stage.state_dict())
    assert other.is_hard
    assert torch.equal(other(w), stage(w))


@methods
def test_what_it_keeps_is_what_its_count_and_threshold_tell(method):
    stage, w = made(method)
    stage.sharpen_(30.0)
    assert float(stage.soft(w)[1].detach()) == pytest.approx(int(stage.keeps(w).sum()), abs=2)
    assert stage.threshold(w) > 0


@methods
def test_only_what_has_patterns_knows_which_a_mask_leaves(method):
    stage, w = made(method)
    everything = torch.ones_like(w, dtype=torch.bool)
    assert stage.pattern_of(everything) is None
    if not stage.patterns:
        assert not stage.is_fixed
        return
    mask = stage.project(w.abs(), stage.patterns[0])
    assert stage.pattern_of(mask) == Pattern(1, 4)
    assert stage.is_fixed
