"""The task of bench_resume.py: a trained LeNet-5 and Fashion-MNIST, drawn at random in every way a user's data is.

A shuffling DataLoader without a generator of its own, shifts drawn with numpy for each image, dropout in the network.
"""

from __future__ import annotations

import os

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from secateur.cli.demo_data import load_demo_data
from secateur.cli.demo_network import Images, LeNet5, build
from secateur.train.task import Task, accuracy

IMAGES = int(os.environ.get("RESUME_IMAGES", "3000"))
WEIGHTS = os.environ.get("RESUME_WEIGHTS", "dense.pt")


class Shifted(Dataset):
    """Images moved by at most a pixel, another way every time."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = F.pad(images, (1, 1, 1, 1), value=float(images.min())), labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        row, column = np.random.randint(0, 3, 2)
        return self.images[index, :, row : row + 28, column : column + 28], self.labels[index]


class WithDropout(LeNet5):
    """The demo's network, losing some of its features while it trains."""

    def __init__(self) -> None:
        super().__init__()
        later = [(name, self._modules.pop(name)) for name in ("fc1", "relu", "fc2")]
        for name, module in [("dropout", nn.Dropout(0.1)), *later]:
            self.add_module(name, module)


def data() -> tuple[Images, Images]:
    """Training images, fewer than the demo's, and its validation images."""
    task, _ = build(load_demo_data(), seed=0)
    assert isinstance(task.train, Images)
    assert isinstance(task.val, Images)
    return task.train, task.val


def task() -> Task:
    """What `secateur compress` is given."""
    train, val = data()
    order = torch.randperm(len(train.labels), generator=torch.Generator().manual_seed(1))[:IMAGES]
    shifted = Shifted(train.images[order].contiguous(), train.labels[order])
    model = WithDropout()
    model.load_state_dict(torch.load(WEIGHTS, weights_only=True))
    loader = DataLoader(shifted, batch_size=64, shuffle=True)
    return Task(model, val.images[:1], loader, val, F.cross_entropy, accuracy)
