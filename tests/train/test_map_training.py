"""Feature maps in training: costs that pull widths down, phases, targets met after hardening, exact resuming."""

import copy

import pytest
import torch

from mapped import batches, mapped, watched
from secateur.errors import TargetError
from secateur.ir.rules import Prune, Quantize
from secateur.ir.target import Target
from secateur.nn.groups import param_groups
from secateur.nn.harden import harden_
from secateur.nn.map_sites import maps_of
from secateur.nn.transform import transforms_of
from secateur.train.budget import Budget
from secateur.train.costs import COSTS, Layers
from secateur.train.phases import BEGIN, COLDEST, LEARN, advance_


def layers_of(model):
    return Layers.of(transforms_of(model), 0, 32, maps=maps_of(model))


def test_costs_by_hand():
    model = mapped(Quantize({4, 8}), quantize=Quantize({2, 4}))
    layers = layers_of(model)
    assert float(COSTS["bit_operations"](layers).detach()) == (1296 + 576 + 48) * 3 * 6
    assert float(COSTS["largest_map_bytes"](layers).detach()) == 144 * 6 / 8
    floats = layers_of(mapped(Quantize(8), prune=Prune()))
    macs = float(COSTS["macs"](floats).detach())
    assert float(COSTS["bit_operations"](floats).detach()) == pytest.approx(macs * 32 * 8)


@pytest.mark.parametrize("name", ["bit_operations", "largest_map_bytes"])
def test_costs_pull_the_widths_of_maps_down(name):
    model = watched(mapped())
    for site in maps_of(model):
        site.quantizer.start()
        site.quantizer.learn(1.0)
    cost = COSTS[name](Layers.of(transforms_of(mapped(prune=Prune())), 0, 32, maps=maps_of(model)))
    cost.backward()
    gradients = {site.name: site.quantizer.theta.grad for site in maps_of(model)}
    pulled = [name for name, grad in gradients.items() if grad is not None and (grad.diff() > 0).all()]
    assert pulled == (["input", "1", "5"] if name == "bit_operations" else ["1"]), "of bytes, the largest map alone"


def test_phases():
    model = watched(mapped())
    quantizer = maps_of(model)[0].quantizer
    advance_((), BEGIN - 0.01, maps_of(model))
    assert not quantizer.is_on
    advance_((), BEGIN, maps_of(model))
    assert quantizer.is_on
    assert quantizer.learning is None
    advance_((), LEARN, maps_of(model))
    assert quantizer.learning is not None
    advance_((), 1.0, maps_of(model))
    assert float(quantizer.tau) == pytest.approx(COLDEST)
    quantizer.harden(4)
    advance_((), 1.0, maps_of(model))
    assert quantizer.tau is None


class Training:
    """A loop of one's own."""

    def __init__(self, model, target, steps=60):
        self.model, self.budget = model, Budget(model, target, steps=steps)
        self.optimizer = torch.optim.Adam(param_groups(model), lr=1e-3)

    def run(self, steps):
        for number in range(self.budget.taken, self.budget.taken + steps):
            x = batches(3)[number % 3]
            loss = (self.model(x) - x.mean((1, 2, 3)).unsqueeze(1)).square().mean() + self.budget()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.budget.step()


TARGET = Target(bit_operations=15_000, largest_map_bytes=72)


def test_both_targets_hold_after_hardening():
    training = Training(mapped(prune=Prune(), quantize=Quantize((2, 8))), TARGET)
    training.run(60)
    found = harden_(training.model, TARGET)
    assert found.bit_operations <= 15_000
    assert found.largest_map_bytes <= 72
    assert found.bit_operations > 0
    learned = [float(site.quantizer.theta.detach().abs().max()) for site in maps_of(training.model)]
    assert max(learned) > 0, "the widths learned"


def test_a_run_goes_on_exactly_from_its_state():
    """In every phase: before maps are quantized, while they are on, while widths learn."""
    for done in (10, 27, 45):
        whole = Training(mapped(prune=Prune(), quantize=Quantize((2, 8))), TARGET)
        whole.run(done)
        state = copy.deepcopy((whole.model.state_dict(), whole.optimizer.state_dict(), whole.budget.state_dict()))
        whole.run(60 - done)
        again = Training(mapped(prune=Prune(), quantize=Quantize((2, 8))), TARGET)
        for one, kept in zip((again.model, again.optimizer, again.budget), state, strict=True):
            one.load_state_dict(kept)
        again.run(60 - done)
        after, expected = again.model.state_dict(), whole.model.state_dict()
        assert after.keys() == expected.keys()
        assert all(torch.equal(tensor, after[name]) for name, tensor in expected.items()), done


def test_a_plan_of_maps_alone_trains():
    training = Training(mapped(), Target(largest_map_bytes=72), steps=20)
    training.run(20)
    assert harden_(training.model, training.budget.target).largest_map_bytes <= 72


def test_targets_without_effect_are_refused():
    with pytest.raises(TargetError, match="quantizes none"):
        Budget(mapped(maps=None, prune=Prune()), Target(largest_map_bytes=100), steps=5)
    with pytest.raises(TargetError, match="multiply-accumulates"):
        Budget(mapped(), Target(bit_operations=100), steps=5)
