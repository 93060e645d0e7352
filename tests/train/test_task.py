"""train.task: judging a model leaves it as it was."""

import math

import pytest
import torch
from torch import nn

from secateur.train.task import Task, accuracy, score


def task(val, model=None):
    model = model or nn.Sequential(nn.Dropout(), nn.Linear(2, 2))
    return Task(model, torch.zeros(1, 2), [], val, nn.functional.cross_entropy, accuracy)


def test_accuracy():
    assert accuracy(torch.tensor([[1.0, 0], [0, 1], [0, 1]]), torch.tensor([0, 1, 0])) == pytest.approx(2 / 3)


def test_every_module_keeps_its_own_mode():
    model = nn.Sequential(nn.Dropout(), nn.Linear(2, 2))
    model.train()
    model[0].eval()
    score(task([(torch.zeros(3, 2), torch.zeros(3, dtype=torch.long))], model))
    assert model.training
    assert not model[0].training


def test_another_model_can_be_judged_on_the_same_data():
    data = [(torch.eye(2), torch.tensor([0, 1]))]
    right, wrong = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    right.weight.data, wrong.weight.data = torch.eye(2), torch.eye(2).flip(0)
    assert score(task(data, right)) == 1
    assert score(task(data, right), wrong) == 0


def test_no_validation_data_has_no_score():
    assert math.isnan(score(task([])))
