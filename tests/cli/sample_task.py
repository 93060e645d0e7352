"""A task small enough for every test: two classes in the plane, told apart by a sign; also tasks that are wrong."""

import dataclasses

import torch
from torch import nn
from torch.nn import functional as F

import secateur as sct
from secateur.train.task import accuracy


def build():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    x = torch.randn(64, 4)
    y = (x[:, 0] > 0).long()
    with torch.no_grad():  # a network that is right without training: class 1 where x0 > 0
        model[0].weight.copy_(torch.cat([torch.eye(4), -torch.eye(4)]) + 0.01 * torch.randn(8, 4))
        model[2].weight.copy_(torch.tensor([[-1.0, 0, 0, 0, 1, 0, 0, 0], [1, 0, 0, 0, -1, 0, 0, 0]]))
        for layer in (model[0], model[2]):
            layer.bias.zero_()
    batches = [(x[:32], y[:32]), (x[32:], y[32:])]
    return sct.Task(model, x[:2], batches, batches, F.cross_entropy, accuracy)


def lower_is_better():
    task = build()
    return sct.Task(task.model, task.example, task.train, task.val, task.loss, F.cross_entropy, higher_is_better=False)


def nothing():
    return None


def needs(argument):
    return argument


def one_epoch():
    task = build()
    return sct.Task(task.model, task.example, task.train, iter(task.val), task.loss, task.metric)


def no_validation():
    return dataclasses.replace(build(), val=[])


def no_labels():
    task = build()
    batches = [inputs for inputs, _ in task.val]
    return dataclasses.replace(task, train=batches, val=batches)


no_function = 3


class FixedBatch(nn.Module):
    """The batch as a number fixes a graph at the example's two."""

    def __init__(self, layers):
        super().__init__()
        self.layers = layers

    def forward(self, x):
        return self.layers(x) + int(x.shape[0]) * torch.zeros(len(x), 2)


def fixed_batch():
    task = build()
    return sct.Task(FixedBatch(task.model), task.example, task.train, task.val, task.loss, task.metric)


def batches_of_three():
    task = fixed_batch()
    x, y = task.val[0]
    return sct.Task(task.model, task.example, task.train, [(x[:3], y[:3])], task.loss, task.metric)
