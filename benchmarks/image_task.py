"""Images and a network that tells classes apart, as a task of the library: whole batches, drawn anew in every epoch."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler, TensorDataset

import secateur as sct
from image_data import Images

BATCH = 128


def image_task(model: nn.Module, data: Images) -> tuple[sct.Task, DataLoader[Any]]:
    """The task, on images as they are, and the batches of test images that it never sees."""
    train, val, test = (TensorDataset(s.images, s.labels) for s in (data.train, data.validation, data.test))
    example = data.train.images[:2]
    loaders = loader(train, shuffled=True), loader(val), loader(test)
    model.to(memory_format=torch.channels_last)  # In which a CPU's convolutions are fastest.
    return sct.Task(model, example, *loaders[:2], F.cross_entropy, sct.accuracy), loaders[2]


def loader(data: TensorDataset, *, shuffled: bool = False, size: int = BATCH) -> DataLoader[Any]:
    """Whole batches are indexed at once, which is many times faster than image by image."""
    order = RandomSampler(data) if shuffled else SequentialSampler(data)
    return DataLoader(data, sampler=BatchSampler(order, size, drop_last=shuffled), batch_size=None)
