"""nn.norms.distance: mean and variance of what reaches a layer in evaluation, over all batches."""

import pytest
import torch
from torch import nn

from secateur.errors import PlanError
from secateur.nn.norms.distance import norm_distances, watched_norms
from secateur.nn.norms.lagrange_norm import LagrangeNorm1d


def test_distances_over_batches_are_those_of_all_inputs_together():
    model = nn.Sequential(LagrangeNorm1d(3, variance=4.0)).train()
    x = torch.randn(50, 3, 7) * torch.tensor([1.0, 2.0, 0.0]).reshape(1, 3, 1) + 1000
    found = norm_distances(model, [(part,) for part in x.split(9)])["0"]
    variance, mean = torch.var_mean(x.double(), (0, 2), correction=0)
    torch.testing.assert_close(found.mean, mean, rtol=1e-12, atol=0)
    torch.testing.assert_close(found.variance, variance, rtol=1e-9, atol=1e-12)
    assert found.worst == pytest.approx((float(mean.abs().max() / 2), float((variance / 4 - 1).abs().max())))
    assert model.training
    assert model[0].take() == []


def test_layers_that_nothing_reaches_are_left_out():
    model = nn.ModuleList([LagrangeNorm1d(2), LagrangeNorm1d(2)])
    with watched_norms(model) as found:
        model[1](torch.randn(4, 2))
    assert list(found) == ["1"]
    with pytest.raises(PlanError, match="nothing reached"):
        norm_distances(nn.Linear(2, 2), [(torch.ones(1, 2),)])


def test_hooks_are_gone_even_after_an_error():
    model = nn.Sequential(LagrangeNorm1d(2))
    with pytest.raises(ValueError, match="dimensions"):
        norm_distances(model, [(torch.ones(1, 3),)])
    assert not model[0]._forward_pre_hooks
