"""What the demo trains: LeNet-5 in Caffe's form, and the task it has on Fashion-MNIST.

Source: Jia et al., "Caffe: convolutional architecture for fast feature embedding", 2014, examples/mnist/lenet.prototxt.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secateur.cli.demo_data import CLASSES, DemoData
from secateur.train.task import Task, accuracy

MEAN, DEVIATION = 0.2860, 0.3530
"""Of the pixels of Fashion-MNIST's training images, as fractions."""
VALIDATION_PER_CLASS = 100
BATCH = 64


class LeNet5(nn.Sequential):
    """431,080 parameters: two convolutions, two fully connected layers, one ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 5)
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.pool2 = nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(800, 500)
        self.relu = nn.ReLU()
        self.fc2 = nn.Linear(500, CLASSES)


@dataclass
class Images:
    """Images and labels in batches; in a new order every epoch where there is a generator."""

    images: Tensor
    labels: Tensor
    generator: torch.Generator | None = None
    batch: int = BATCH

    def __len__(self) -> int:
        return -(-len(self.labels) // self.batch)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        count = len(self.labels)
        order = torch.arange(count) if self.generator is None else torch.randperm(count, generator=self.generator)
        for chosen in order.split(self.batch):
            yield self.images[chosen], self.labels[chosen]


def build(data: DemoData, seed: int) -> tuple[Task, Images]:
    """The task (untrained network, 7,000 images to train on, 1,000 to validate) and the 2,000 test images."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LeNet5()
    for parameter in model.parameters():
        if parameter.dim() == 4:  # half the time of a step on a processor
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    images, labels = _tensor(data.train_images), torch.from_numpy(data.train_labels).long()
    held_out = validation(labels)
    train = Images(images[~held_out], labels[~held_out], torch.Generator().manual_seed(seed))
    val = Images(images[held_out], labels[held_out], batch=500)
    test = Images(_tensor(data.test_images), torch.from_numpy(data.test_labels).long(), batch=500)
    task = Task(model, images[:1], train, val, F.cross_entropy, accuracy)
    return task, test


def validation(labels: Tensor) -> Tensor:
    """True for the last VALIDATION_PER_CLASS images of each class: they steer, and nothing is trained on them."""
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for number in range(CLASSES):
        held_out[(labels == number).nonzero().flatten()[-VALIDATION_PER_CLASS:]] = True
    return held_out


def _tensor(images: object) -> Tensor:
    pixels = torch.as_tensor(images).float().div_(255).sub_(MEAN).div_(DEVIATION)
    return pixels.unsqueeze(1).contiguous(memory_format=torch.channels_last)
