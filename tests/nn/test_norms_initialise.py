"""nn.norms.initialise: after one batch the constraints hold on it."""

import pytest
import torch
from norm_nets import batch_normed, inputs
from torch import nn

from secateur.errors import PlanError
from secateur.nn.norms.distance import norm_distances
from secateur.nn.norms.initialise import initialise_norms_
from secateur.nn.norms.lagrange_norm import LagrangeNorm1d
from secateur.nn.norms.swap import swap_norms_


@pytest.mark.parametrize("variance", [1.0, 3.0])
def test_the_constraints_hold_on_the_batch(variance):
    model = batch_normed()
    swap_norms_(model, "lagrange", inputs(1), variance=variance)
    x = inputs(16, seed=9)
    assert any(max(found.worst) > 0.05 for found in norm_distances(model, [(x,)]).values())
    model.train()
    assert initialise_norms_(model, x) == ()
    assert all(max(found.worst) < 1e-4 for found in norm_distances(model, [(x,)]).values())
    assert model.training


def test_a_channel_that_never_changes_keeps_its_scale():
    model = nn.Sequential(nn.Linear(3, 2), LagrangeNorm1d(2))
    with torch.no_grad():
        model[0].weight[1] = 0
    before = model[0].weight[1].clone()
    initialise_norms_(model, torch.randn(8, 3))
    assert torch.equal(model[0].weight[1], before)
    assert torch.isfinite(model[0].bias).all()
    assert model[0].bias[1] == 0, "its mean is taken away all the same"


def test_norms_without_a_layer_before_them_are_named():
    model = nn.Sequential(LagrangeNorm1d(3), nn.Linear(3, 3), LagrangeNorm1d(3))
    assert initialise_norms_(model, torch.randn(8, 3)) == ("0",)
    with pytest.raises(PlanError, match="no LagrangeNorm"):
        initialise_norms_(nn.Linear(3, 3), torch.randn(8, 3))
