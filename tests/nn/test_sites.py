"""nn.sites: the tables of what can be pruned, and counting without leaving a trace."""

import pytest
import torch
from torch import nn

from prepared import EXAMPLE, Tied, small_net
from secateur.errors import DataError
from secateur.ir.rules import Prune
from secateur.nn.sites import find_sites, measure_reuse


def test_sites_cover_every_parameter_once():
    for model in (small_net(), Tied(), nn.TransformerEncoderLayer(8, 2, 16)):
        sites = find_sites(model)
        assert [id(site.tensor) for site in sites] == [id(p) for p in model.parameters()]


def test_subclasses_are_prunable():
    class Mine(nn.Linear):
        pass

    assert find_sites(Mine(3, 3))[0].refusal() == ""


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN, nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_biases_of_recurrent_layers_are_kept(kind):
    refusals = {site.names[0]: site.refusal() for site in find_sites(kind(2, 3))}
    assert all(("has no pruning rule" in why) == name.startswith("bias") for name, why in refusals.items())


CHANNEL_AXES = {
    "linear": (nn.Linear(2, 3), 0),
    "convolution": (nn.Conv3d(2, 4, 1, groups=2), 0),
    "transposed": (nn.ConvTranspose2d(2, 4, 1), 1),
    "transposed, depthwise": (nn.ConvTranspose2d(4, 4, 1, groups=4), 0),
    "transposed, several channels of one": (nn.ConvTranspose2d(4, 8, 1, groups=4), None),
    "transposed, in groups": (nn.ConvTranspose2d(4, 4, 1, groups=2), None),
    "recurrent": (nn.LSTM(2, 3), 0),
    "embedding": (nn.Embedding(3, 2), 1),
    "bag of embeddings": (nn.EmbeddingBag(3, 2), 1),
    "embedding tied to a layer": (Tied(), 0),
}


@pytest.mark.parametrize("name", CHANNEL_AXES)
def test_the_axis_of_the_output_channels(name):
    model, axis = CHANNEL_AXES[name]
    assert find_sites(model)[0].channel_axis() == axis


def test_a_tie_of_different_channel_axes_has_none():
    model = nn.ModuleList([nn.Conv1d(3, 3, 2), nn.ConvTranspose1d(3, 3, 2)])
    model[1].weight = model[0].weight
    assert find_sites(model)[0].channel_axis() is None
    assert find_sites(model)[0].refusal() == ""
    assert "no single axis" in find_sites(model)[0].refusal(Prune(granularity="channel"))


def test_a_failing_model_leaves_no_hooks_and_its_mode():
    model = small_net().train()
    with pytest.raises(DataError, match=r"cannot take the example, \(1, 2\) of torch.float32: RuntimeError: "):
        measure_reuse(model, torch.randn(1, 2))
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_reuse_counts_positions_per_example():
    model = small_net()
    reuse = measure_reuse(model, EXAMPLE)
    assert reuse[id(model[0].weight)] == 36
    assert reuse[id(model[4].weight)] == 1
