"""A task of a second: three classes, a network with batch norm and dropout, data drawn at random in several ways."""

import random

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from secateur.compression.options import Options
from secateur.train.task import Task, accuracy

OPTIONS = Options(prune_epochs=4, finetune_epochs=2, lr=5e-3, threshold_lr=0.05, save_seconds=0)
"""Few steps, and a state after every one of them."""
STEPS = 6 * 5


class Noisy(Dataset):
    """Points near one of three corners; noise from numpy and random for every point that is asked for."""

    def __init__(self, seed, count, broken_at=None):
        self.broken_at, self.served = broken_at, 0
        draw = torch.Generator().manual_seed(seed)
        self.labels = torch.randint(0, 3, (count,), generator=draw)
        self.points = 0.2 * torch.randn(count, 8, generator=draw)
        self.points[torch.arange(count), self.labels] += 1

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        self.served += 1
        if self.served == self.broken_at:
            raise RuntimeError("no such image")
        return self.points[index] + 0.01 * float(np.random.rand()) + 0.01 * random.random(), self.labels[index]


class Net(nn.Sequential):
    """Trained enough to be right: the corners stand out from the start."""

    def __init__(self):
        torch.manual_seed(0)
        super().__init__(
            nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 16), nn.ReLU(),
            nn.Linear(16, 3),
        )  # fmt: skip
        optimizer = torch.optim.Adam(self.parameters(), lr=0.02)
        data = Noisy(1, 100)
        for _ in range(40):
            optimizer.zero_grad()
            F.cross_entropy(self(data.points), data.labels).backward()
            optimizer.step()


def tiny_task(loss=F.cross_entropy, **changed):
    train, val = Noisy(1, 100), Noisy(2, 60)
    batches = [(val.points[i : i + 30], val.labels[i : i + 30]) for i in (0, 30)]
    parts = {"train": DataLoader(train, batch_size=20, shuffle=True), "val": batches, **changed}
    return Task(Net(), val.points[:2], parts["train"], parts["val"], loss, accuracy)


def failing_loss(step, what):
    """The cross entropy, whose call number `step` does something else first."""
    calls = iter(range(10**6))

    def loss(outputs, labels):
        found = F.cross_entropy(outputs, labels)
        return what(found) if next(calls) == step else found

    return loss
