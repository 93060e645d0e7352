"""norm_step and step_memory: what is compared is one round's times, what is counted is what is held at once."""

import pytest
import torch
from torch import nn

from norm_networks import plain12
from norm_step import ratios, seconds, step_of
from secateur.nn.norms.lagrange_norm import LagrangeNorm2d
from step_memory import grown_bytes


def test_ratios_are_medians_over_rounds():
    found = {"slow": [4.0, 30.0, 9.0], "fast": [2.0, 10.0, 9.0]}
    assert ratios(found, "fast") == {"slow": 2.0, "fast": 1.0}


def test_methods_take_turns():
    order = []
    found = seconds({name: lambda name=name: order.append(name) for name in "ab"}, rounds=2, turn=1)
    assert order == ["a", "b"] * 3, "once to warm up, then two rounds"
    assert {name: len(times) for name, times in found.items()} == {"a": 2, "b": 2}


def test_memory_is_what_is_held_at_once():
    def step():
        for _ in range(3):
            torch.empty(1000)
        kept = [torch.empty(500), torch.empty(700)]
        del kept

    assert grown_bytes(step) == pytest.approx(4 * 1200, abs=128)


def test_what_a_step_frees_and_makes_again_is_no_growth():
    kept = [torch.empty(1000)]

    def step():
        kept.clear()
        kept.append(torch.empty(1000))

    assert grown_bytes(step) == 4000, "nobody has seen what is freed"
    assert grown_bytes(step, steps=2) <= 0


@pytest.mark.parametrize("batch", [1, 2, 4, 8])
def test_constraints_take_no_more_memory_than_batch_norm(batch):
    grown = {}
    for method, every in (("lagrange", 1), ("batch", 0)):
        torch.manual_seed(0)
        model = plain12({"lagrange": LagrangeNorm2d, "batch": nn.BatchNorm2d}[method])
        step = step_of(model, (torch.randn(batch, 1, 28, 28), torch.zeros(batch, dtype=torch.long)), every=every)
        step()
        grown[method] = grown_bytes(step, steps=2)
    assert grown["lagrange"] < grown["batch"]


def test_a_constrained_step_moves_weights_and_multipliers():
    torch.manual_seed(0)
    model = plain12(LagrangeNorm2d)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    step = step_of(model, (torch.randn(2, 1, 28, 28), torch.tensor([1, 2])), every=1)
    step()
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert {"0.weight", "1.multipliers", "34.multipliers"} <= moved


def test_a_penalty_in_every_other_step_comes_first_and_third():
    torch.manual_seed(0)
    model = plain12(LagrangeNorm2d)
    step, norm = step_of(model, (torch.randn(2, 1, 28, 28), torch.tensor([1, 2])), every=2), model[1]
    seen = []
    for _ in range(4):
        norm.multipliers.grad = None
        step()
        seen.append(norm.multipliers.grad is not None)
    assert seen == [True, False, True, False]
