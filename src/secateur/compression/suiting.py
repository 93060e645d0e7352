"""A schedule that suits a task nobody told anything about: steps from the data, a rate that keeps what is known."""

from __future__ import annotations

import copy
import dataclasses
import math
from itertools import cycle, islice
from typing import Any

import torch
from torch import Tensor, nn

from secateur.compression.options import Options
from secateur.errors import DataError, TrainingError
from secateur.ir.target import Target
from secateur.train.fit import train_step
from secateur.train.modes import refuse_frozen, train_
from secateur.train.precision import FULL
from secateur.train.replay import start_epoch
from secateur.train.schedule import Schedule
from secateur.train.task import Task, loss_of, outputs_of, parts_of

EPOCHS, LEAST_STEPS, MOST_STEPS = 20, 1500, 6000
"""Of self-pruning, for a tenth of the weights: 20 epochs as the recipe was measured, between these numbers of steps."""
LEAST_EFFORT = 0.3
"""Share of these steps where half of the weights or more stay, which were enough for a sentence encoder at a half."""
MOST_EPOCHS = 150
"""Every epoch is validated; more of them over a handful of batches would do little else."""
RATES = (1e-3, 5e-4, 2e-4, 1e-4, 5e-5, 2e-5)
"""Peaks of Adam's rate that are tried, the measured one first."""
TRIED_STEPS = 20
FORGOTTEN = 0.1
"""Of the way from the loss of the trained network to that of guessing: what a rate may cost after TRIED_STEPS."""


def suited_schedule(task: Task, target: Target, options: Options) -> Schedule:
    """The options as a Schedule; what they leave open is chosen for the task, whose model stays as it is."""
    prune, finetune = suited_epochs(len(task.train), target)
    prune = prune if options.mac_aware is None else 0
    return Schedule(
        prune_epochs=prune if options.prune_epochs is None else options.prune_epochs,
        finetune_epochs=finetune if options.finetune_epochs is None else options.finetune_epochs,
        lr=suited_rate(task, options.seed, options.precision) if options.lr is None else options.lr,
        threshold_lr=options.threshold_lr,
        average=options.average,
        distill=options.distill,
        precision=options.precision,
        seed=options.seed,
    )


def suited_epochs(batches: int, target: Target) -> tuple[int, int]:
    """Epochs of self-pruning and of fine-tuning for so many batches an epoch: more steps the fewer weights stay."""
    if batches < 1:
        raise DataError("the training data has no batch")
    effort = 1.5 if target.density is None else max(LEAST_EFFORT, math.log10(1 / target.density))
    steps = max(effort * min(max(EPOCHS * batches, LEAST_STEPS), MOST_STEPS), LEAST_STEPS)
    epochs = min(max(1, math.ceil(steps / batches)), MOST_EPOCHS)
    return epochs, math.ceil(epochs / 2)


def suited_rate(task: Task, seed: int, precision: str = FULL) -> float:
    """The largest of RATES at which some steps, in this precision, leave the trained network about as good as it was.

    A rate fit for training from scratch can wipe out in a few steps what a trained network knows. An untrained network,
    no better than guessing, takes the measured rate.
    """
    refuse_frozen(task.model)
    start_epoch(task.train, seed, 0)
    batches = list(islice(cycle(islice(task.train, TRIED_STEPS)), TRIED_STEPS))
    if not batches:
        raise DataError("the training data gave no batch")
    before, guessing = _loss(task, batches, shuffled=False), _loss(task, batches, shuffled=True)
    if not guessing > before:
        return RATES[0]
    for rate in RATES:
        if _after(task, batches, rate, precision) <= before + FORGOTTEN * (guessing - before):
            return rate
    return RATES[-1]


@torch.no_grad()
def _loss(task: Task, batches: list[Any], *, shuffled: bool) -> float:
    """Mean loss as it would be trained; shuffled: the outputs in another order than the labels, which is guessing."""
    model = _training_copy(task)
    total, draw = 0.0, torch.Generator().manual_seed(0)
    for batch in batches:
        inputs, labels = parts_of(batch)
        outputs = outputs_of(model, inputs)
        if shuffled and isinstance(outputs, Tensor):
            outputs = outputs[torch.randperm(len(outputs), generator=draw).to(outputs.device)]
        total += float(loss_of(task, outputs, labels))
    return total / len(batches)


def _training_copy(task: Task) -> nn.Module:
    model = copy.deepcopy(task.model)
    train_(model)
    return model


def _after(task: Task, batches: list[Any], rate: float, precision: str) -> float:
    """Mean loss over the later half of some steps with a rate; infinite where it diverges."""
    tried = dataclasses.replace(task, model=_training_copy(task))
    optimizer = torch.optim.Adam([p for p in tried.model.parameters() if p.requires_grad], lr=rate)
    try:
        losses = [train_step(tried, batch, optimizer, precision=precision)["task"] for batch in batches]
    except TrainingError:
        return math.inf
    later = losses[len(losses) // 2 :]
    return sum(later) / len(later)
