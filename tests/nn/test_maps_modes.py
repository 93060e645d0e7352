"""nn.maps.modes: both modes are traced, nothing is left changed, and what cannot be traced is told with what to do."""

import random

import pytest
import torch
from torch import nn

from map_nets import Branching, Vgg
from recomputed_nets import IGNORED, Block, trained
from secateur.errors import PlanError
from secateur.ir.map_names import MAPS
from secateur.nn.maps.modes import both_modes


def test_modules_stay_in_the_mode_they_were_in():
    model = Vgg()
    model.features.eval()
    both_modes(model, 1)
    assert model.training
    assert not model.features[1].training


def test_data_chance_and_replaced_forwards_are_refused():
    class Lucky(nn.Module):
        def forward(self, x):
            return x if not self.training or random.random() > 0.5 else -x

    with pytest.raises(
        PlanError, match=r"TraceError: .*control flow \(map_nets\.py:\d+ `.*x\.sum\(\).*torch\.fx\.wrap"
    ):
        both_modes(Branching(), 1)
    with pytest.raises(PlanError, match="random numbers that depend on no input"):
        both_modes(Lucky(), 1)
    patched = Vgg()
    patched.forward = lambda x: x
    with pytest.raises(PlanError, match="replaced on the object itself"):
        both_modes(patched, 1)


def test_a_model_whose_maps_are_quantized_already_is_refused():
    model = Vgg()
    model.add_module(MAPS, nn.ModuleDict())
    with pytest.raises(PlanError, match="quantized already: strip_ it first"):
        both_modes(model, 1)


def test_layers_of_a_users_own_stay_modules():
    class Scaled(nn.Conv2d):
        def forward(self, x):
            return self._conv_forward(x, self.weight / self.weight.norm(), None)

    calls = both_modes(nn.Sequential(Scaled(1, 1, 1)), 1).evaluation
    assert [node.target for node in calls.module.graph.nodes if node.op == "call_module"] == ["0"]
    assert torch.equal(calls.module(torch.ones(1, 1, 1, 1)).abs().round(), torch.ones(1, 1, 1, 1))


def test_power_iterations_of_a_block_that_is_looked_into_are_refused():
    with pytest.raises(PlanError, match=r"spectral_norm computes 0\.weight .*remove_spectral_norm\(layer, 'weight'\)"):
        both_modes(nn.Sequential(Block("spectral_norm")), 1)


@pytest.mark.filterwarnings(IGNORED)
@pytest.mark.parametrize(
    "make",
    [
        lambda: Block("spectral_norm"),  # its own hooks go on being called
        lambda: trained("linear", "spectral_norm"),  # and those of layers
        lambda: nn.Sequential(Block("prune")),
        lambda: nn.Sequential(Block("weight_norm")),
    ],
)
def test_other_weights_that_are_computed_are_traced(make):
    model, x = make(), torch.randn(2, 12)
    model.eval()(x)
    modes = both_modes(model, 1)
    assert torch.equal(modes.evaluation.module.eval()(x), model.eval()(x))
