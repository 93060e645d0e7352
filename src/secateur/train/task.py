"""Task: a model with its data and the judgement of its output. What a user writes once and every verb takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class Batches(Sized, Iterable[Any], Protocol):
    """What a loop draws from: (inputs, labels) pairs, iterable any number of times; a DataLoader is one."""


@dataclass(frozen=True)
class Task:
    """A model, its data and its measure.

    model             the network, trained or not
    example           a tensor or tuple of tensors the model accepts, batch first
    train, val        batches of (inputs, labels); thresholds, early stopping and limits look at val, never at a test
                      set
    loss              loss(model(inputs), labels), a scalar
    metric            metric(model(inputs), labels), the mean over one batch, a number
    higher_is_better  whether a larger metric is a better model
    """

    model: nn.Module
    example: Any
    train: Batches
    val: Batches
    loss: Callable[[Tensor, Any], Tensor]
    metric: Callable[[Tensor, Any], float]
    higher_is_better: bool = True


@torch.no_grad()
def score(task: Task, model: nn.Module | None = None) -> float:
    """Mean metric over the validation batches, each weighted by its size, in evaluation mode; the mode is restored."""
    judged = task.model if model is None else model
    modes = {module: module.training for module in judged.modules()}
    judged.eval()
    total, count = 0.0, 0
    for inputs, labels in task.val:
        size = len(labels)
        total += float(task.metric(judged(inputs), labels)) * size
        count += size
    for module, training in modes.items():
        module.training = training
    return total / count if count else float("nan")


def accuracy(output: Tensor, labels: Tensor) -> float:
    """Fraction of rows whose largest logit is the label: a metric for classifiers."""
    return float((output.argmax(1) == labels).float().mean())
