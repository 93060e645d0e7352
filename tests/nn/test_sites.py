"""nn.sites: the tables of what can be pruned, and counting without leaving a trace."""

import pytest
import torch
from torch import nn

from prepared import EXAMPLE, Tied, small_net
from secateur.nn.sites import find_sites, measure_reuse


def test_sites_cover_every_parameter_once():
    for model in (small_net(), Tied(), nn.TransformerEncoderLayer(8, 2, 16)):
        sites = find_sites(model)
        assert [id(site.tensor) for site in sites] == [id(p) for p in model.parameters()]


def test_subclasses_are_prunable():
    class Mine(nn.Linear):
        pass

    assert find_sites(Mine(3, 3))[0].refusal() == ""


def test_an_embedding_alone_has_no_pruning_rule():
    assert find_sites(nn.Embedding(3, 3))[0].refusal() == "Embedding.weight has no pruning rule"


def test_a_failing_model_leaves_no_hooks_and_its_mode():
    model = small_net().train()
    with pytest.raises(RuntimeError):
        measure_reuse(model, torch.randn(1, 2))
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_reuse_counts_positions_per_example():
    model = small_net()
    reuse = measure_reuse(model, EXAMPLE)
    assert reuse[id(model[0].weight)] == 36
    assert reuse[id(model[4].weight)] == 1
