"""A schedule that suits a task nobody told anything about: steps from the data, a rate that keeps what is known."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import torch
from torch import nn

from secateur.compression.guessing import losses
from secateur.compression.options import Options
from secateur.errors import DataError, TrainingError
from secateur.ir.target import Target
from secateur.nn.copying import copied
from secateur.train.fit import train_step
from secateur.train.modes import refuse_frozen, train_
from secateur.train.precision import FULL
from secateur.train.replay import start_epoch
from secateur.train.schedule import Schedule
from secateur.train.task import Task

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
RISEN = 0.5
"""Of the trained network's loss: what a rate may cost where that of guessing is not known (ours)."""
NOT_TOLD = (
    "what guessing loses could not be measured on the training data: the loss has to change where outputs meet labels "
    "of other examples. So a rate was taken at which it rises by at most a half, or the smallest tried: {lr:g}; "
    "lr sets another"
)


def suited_schedule(task: Task, target: Target, options: Options) -> tuple[Schedule, tuple[str, ...]]:
    """The options as a Schedule; what they leave open is chosen for the task, whose model stays as it is. And notes on
    how it was chosen."""
    prune, finetune = suited_epochs(len(task.train), target)
    prune = prune if options.mac_aware is None else 0
    rate = suited_rate(task, options.seed, options.precision) if options.lr is None else SuitedRate(options.lr)
    schedule = Schedule(
        prune_epochs=prune if options.prune_epochs is None else options.prune_epochs,
        finetune_epochs=finetune if options.finetune_epochs is None else options.finetune_epochs,
        lr=rate.lr,
        threshold_lr=options.threshold_lr,
        average=options.average,
        distill=options.distill,
        precision=options.precision,
        seed=options.seed,
    )
    return schedule, (rate.note,) if rate.note else ()


def suited_epochs(batches: int, target: Target) -> tuple[int, int]:
    """Epochs of self-pruning and of fine-tuning for so many batches an epoch: more steps the fewer weights stay."""
    if batches < 1:
        raise DataError("the training data has no batch")
    effort = 1.5 if target.density is None else max(LEAST_EFFORT, math.log10(1 / target.density))
    steps = max(effort * min(max(EPOCHS * batches, LEAST_STEPS), MOST_STEPS), LEAST_STEPS)
    epochs = min(max(1, math.ceil(steps / batches)), MOST_EPOCHS)
    return epochs, math.ceil(epochs / 2)


@dataclass(frozen=True)
class SuitedRate:
    """A peak of Adam's rate, and what is to be said of how it was found; "" for nothing."""

    lr: float
    note: str = ""


def suited_rate(task: Task, seed: int, precision: str = FULL) -> SuitedRate:
    """The largest of RATES at which some steps, in this precision, leave the trained network about as good as it was.

    A rate fit for training from scratch can wipe out in a few steps what a trained network knows. An untrained network,
    no better than guessing, takes the measured rate. Where nothing tells what guessing loses, the loss rises by RISEN
    at most, and the note says so.
    """
    refuse_frozen(task.model)
    start_epoch(task.train, seed, 0)
    batches = list(islice(cycle(islice(task.train, TRIED_STEPS)), TRIED_STEPS))
    if not batches:
        raise DataError("the training data gave no batch")
    found = losses(task, _training_copy(task), batches)
    before = _later(found.right)
    if not math.isfinite(before) or (found.gain is not None and not found.gain > 0):
        return SuitedRate(RATES[0])
    limit, note = before + FORGOTTEN * (found.gain or 0.0), ""
    if found.gain is None:
        limit, note = before + RISEN * abs(before), NOT_TOLD
    fitting = (rate for rate in RATES if _after(task, batches, rate, precision) <= limit)
    lr = next(fitting, RATES[-1])
    return SuitedRate(lr, note and note.format(lr=lr))


def _later(of_steps: Sequence[float]) -> float:
    """The mean over the later half of the steps: a rate is judged on the batches that come then."""
    later = of_steps[len(of_steps) // 2 :]
    return sum(later) / len(later)


def _training_copy(task: Task) -> nn.Module:
    model = copied(task.model)
    train_(model)
    return model


def _after(task: Task, batches: list[Any], rate: float, precision: str) -> float:
    """Mean loss over the later half of some steps with a rate; infinite where it diverges."""
    tried = dataclasses.replace(task, model=_training_copy(task))
    optimizer = torch.optim.Adam([p for p in tried.model.parameters() if p.requires_grad], lr=rate)
    try:
        return _later([train_step(tried, batch, optimizer, precision=precision)["task"] for batch in batches])
    except TrainingError:
        return math.inf
