"""train.recording: what fit notes of layers trained to mean 0 and variance s, and that it trains them."""

import pytest
import torch
from torch import nn

from secateur.errors import TrainingError
from secateur.ir.rules import Prune
from secateur.ir.target import Target
from secateur.nn.norms.distance import norm_distances
from secateur.nn.norms.penalty import lagrange_norms
from secateur.nn.norms.swap import swap_norms_
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_
from secateur.train.fit import fit
from secateur.train.record import plain, record_from
from secateur.train.schedule import Schedule
from secateur.train.task import Task, accuracy


def normed_task():
    """Which half of a picture is bright, for a network with LagrangeNorm."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(216, 2))
    x = 3 + torch.randn(96, 1, 8, 8)
    labels = torch.arange(96) % 2
    x[labels == 1, :, :4] += 1
    swap_norms_(model, "lagrange", x[:1])
    prepare_(model, plan(model, x[:1], prune=Prune()))
    batches = [(x[i : i + 4], labels[i : i + 4]) for i in range(0, 96, 4)]
    return Task(model, x[:1], batches[:20], batches[20:], nn.functional.cross_entropy, accuracy)


def test_constraints_are_part_of_the_loss_and_their_distance_is_recorded():
    task = normed_task()
    before = norm_distances(task.model, [(x,) for x, _ in task.val])["1"].worst
    fitted = fit(task, Target(density=0.5), schedule=Schedule(prune_epochs=4, finetune_epochs=2, lr=5e-3))
    last = fitted.history[-1]
    assert set(last.norms) == {"1"}
    assert last.terms["normalization"] != 0
    assert last.norms["1"][:2] == pytest.approx(norm_distances(task.model, [(x,) for x, _ in task.val])["1"].worst)
    assert last.norms["1"][0] < before[0]
    assert last.norms["1"][2] == lagrange_norms(task.model)["1"].largest() > 0
    assert record_from(plain(last)) == last


def test_statistics_that_are_no_number_stop_fit_and_name_the_layer():
    task = normed_task()
    with torch.no_grad():
        task.model[0].parametrizations.weight.original.fill_(float("inf"))
    with pytest.raises(TrainingError, match="reaches 1"):
        fit(task, Target(density=0.5), schedule=Schedule(1, 1))
