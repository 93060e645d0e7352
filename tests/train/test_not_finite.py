"""train.not_finite: the layer that was first, for every way a number can be lost."""

import dataclasses
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from prepared import EXAMPLE, prepared
from secateur.errors import TrainingError
from secateur.train.fit import train_step
from secateur.train.not_finite import blame, readable
from secateur.train.task import Task, accuracy

BATCH = (EXAMPLE, torch.tensor([0, 1]))


@pytest.fixture
def task():
    return Task(prepared(), EXAMPLE, [BATCH], [BATCH], F.cross_entropy, accuracy)


class Explode(nn.Module):
    """1 / 0, forward or backward."""

    def __init__(self, *, forward):
        super().__init__()
        self.forwards = forward

    def forward(self, x):
        return x / 0 if self.forwards else x + (0 * x).abs().sqrt()


def test_a_batch(task):
    assert "batch itself" in blame(task, (EXAMPLE / 0, BATCH[1]))


def test_a_layer(task):
    task.model.insert(5, Explode(forward=True))
    with pytest.raises(TrainingError, match=r"the loss is no number \(.*\): the output of layer 5 was the first"):
        train_step(task, BATCH, torch.optim.SGD(task.model.parameters(), lr=0.1))


def test_a_weight(task):
    with torch.no_grad():
        task.model[6].bias[0] = math.inf
    assert blame(task, BATCH) == "6.bias holds NaN or infinity"


def test_a_gradient_is_blamed_on_the_layer_backward_reached_first(task):
    task.model.insert(4, Explode(forward=False))  # before the linear layers: the convolution's gradient is lost
    optimizer = torch.optim.SGD(task.model.parameters(), lr=0.1)
    train_step(task, BATCH, optimizer)
    assert torch.isfinite(task.model[5].bias).all()
    with pytest.raises(TrainingError, match=r"gradient of 0\.(weight|bias) was the first .* one step before"):
        train_step(task, BATCH, optimizer)


def test_the_loss(task):
    nan = dataclasses.replace(task, loss=lambda outputs, labels: F.cross_entropy(outputs, labels) * math.nan)
    assert "the loss function made it" in blame(nan, BATCH)


def test_names_are_those_of_the_plan():
    assert readable("a.parametrizations.weight.original") == "a.weight"
    assert readable("a.parametrizations.weight.0.stages.prune.alpha_raw") == "the threshold of a.weight"
    assert readable("a.bias") == "a.bias"
