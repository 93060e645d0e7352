"""A task that a small network learns in seconds."""

import torch
from torch import nn

from secateur.train.task import Task, accuracy


def bright_quadrant_task(model):
    """Which of three corners of the picture is bright."""
    generator = torch.Generator().manual_seed(3)
    images = 0.3 * torch.randn(240, 1, 8, 8, generator=generator)
    labels = torch.randint(0, 3, (240,), generator=generator)
    for corner, (rows, columns) in enumerate(
        [(slice(0, 4), slice(0, 4)), (slice(0, 4), slice(4, 8)), (slice(4, 8), slice(0, 4))]
    ):
        images[labels == corner, :, rows, columns] += 1
    batches = [(images[i : i + 40], labels[i : i + 40]) for i in range(0, 240, 40)]
    return Task(model, images[:2], batches[:5], batches[5:], nn.functional.cross_entropy, accuracy)
