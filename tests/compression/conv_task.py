"""A task of a second for convolutions: which of three corners of a picture is bright."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from secateur.train.task import Task, accuracy


class Pictures(nn.Sequential):
    """One input channel, a depthwise layer, a norm: what memory formats treat in their own ways.

    trained_in: the strides of the convolutions' weights in every forward pass of training.
    """

    trained_in: list[tuple[tuple[int, ...], ...]] = []  # noqa: RUF012

    def __init__(self):
        torch.manual_seed(0)
        super().__init__(
            nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.ReLU(),
            nn.Conv2d(8, 8, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 3),
        )  # fmt: skip

    def forward(self, x):
        if self.training:
            self.trained_in.append(tuple(self[index].weight.stride() for index in (0, 3, 5)))
        return super().forward(x)


def conv_task(layout=torch.contiguous_format, loss=F.cross_entropy):
    draw = torch.Generator().manual_seed(3)
    images, labels = 0.3 * torch.randn(180, 1, 8, 8, generator=draw), torch.randint(0, 3, (180,), generator=draw)
    for corner, (row, column) in enumerate([(0, 0), (0, 4), (4, 0)]):
        images[labels == corner, :, row : row + 4, column : column + 4] += 1
    train = DataLoader(TensorDataset(images[:120], labels[:120]), batch_size=24, shuffle=True)
    model = Pictures().to(memory_format=layout)
    return Task(model, images[:2], train, [(images[120:], labels[120:])], loss, accuracy)
