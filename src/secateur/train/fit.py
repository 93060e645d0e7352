"""fit(): the reference loop. Self-pruning to a target, hardening, fine-tuning; read it to write your own.

The recipe was measured on MNIST and Fashion-MNIST and needs no number per layer: Adam on the weights with a cosine over
the pruning phase, a constant rate on the thresholds, one constraint over the whole network, then masked fine-tuning.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from secateur.errors import TargetError
from secateur.ir.target import Target
from secateur.nn.groups import THRESHOLD_LR, param_groups
from secateur.nn.harden import Hardening, harden_
from secateur.nn.transform import transforms_of
from secateur.train.budget import Budget
from secateur.train.task import Task, score


@dataclass(frozen=True)
class Schedule:
    """How long and how fast.

    lr            peak of the weights' rate, for both phases; a cosine brings it to 0 in each
    threshold_lr  constant rate of the thresholds; None: 1e-2, or more where there are few steps to move them in
    """

    prune_epochs: int = 20
    finetune_epochs: int = 10
    lr: float = 1e-3
    threshold_lr: float | None = None
    weight_decay: float = 0.0


@dataclass(frozen=True)
class Record:
    """The state after an epoch: mean loss of the task over it, score on validation data, and by tensor the expected
    density and the threshold in units of the weight."""

    phase: str
    epoch: int
    loss: float
    score: float
    density: dict[str, float]
    thresholds: dict[str, float]
    multipliers: dict[str, float]


@dataclass(frozen=True)
class Step:
    """Progress inside a phase, for whoever shows it."""

    phase: str
    done: int
    total: int
    loss: float


@dataclass(frozen=True)
class Fitted:
    """What `fit` did: one record an epoch, the hardening, and the score right before and right after it."""

    history: tuple[Record, ...]
    hardening: Hardening
    score_soft: float
    score_hard: float


def fit(
    task: Task,
    target: Target,
    *,
    schedule: Schedule = Schedule(),
    watch: Callable[[Step | Record], None] = lambda _: None,
) -> Fitted:
    """Self-prune a task's prepared model to a target, in place; afterwards it is hard and fine-tuned.

    watch sees every step and, after every epoch, a record with the score on the validation batches.
    """
    history: list[Record] = []
    model = task.model
    steps = max(1, schedule.prune_epochs * len(task.train))

    def run(phase: str, epochs: int, budget: Budget | None) -> None:
        optimizer = _adam(model, schedule, steps)
        total = epochs * len(task.train)
        for epoch in range(epochs):
            mean = 0.0
            for index, batch in enumerate(task.train):
                done = epoch * len(task.train) + index
                set_rate(optimizer, schedule.lr * cosine(done / total))
                value = train_step(task, batch, optimizer, budget)
                if not math.isfinite(value):
                    raise TargetError(f"the loss became {value} in {phase}, epoch {epoch}, step {done}: lower the rate")
                mean += (value - mean) / (index + 1)
                watch(Step(phase, done + 1, total, value))
            record = _record(task, phase, epoch, mean, budget)
            history.append(record)
            watch(record)

    model.train()
    budget = Budget(model, target, steps=steps)
    run("prune", schedule.prune_epochs, budget)
    score_soft = history[-1].score if history else score(task)
    hardening = harden_(model, target)
    score_hard = score(task)
    run("finetune", schedule.finetune_epochs, None)
    return Fitted(tuple(history), hardening, score_soft, score_hard)


def train_step(task: Task, batch: Any, optimizer: torch.optim.Optimizer, budget: Budget | None = None) -> float:
    """One step of a self-pruning loop; returns the task's loss."""
    inputs, labels = batch
    loss = task.loss(task.model(inputs), labels)
    optimizer.zero_grad()
    (loss + budget() if budget else loss).backward()
    optimizer.step()
    if budget:
        budget.step()
    return float(loss.detach())


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the rate of everything but the thresholds, whose rate stays constant."""
    for group in optimizer.param_groups:
        if group.get("name") != "thresholds":
            group["lr"] = lr


def cosine(fraction: float) -> float:
    """1 at the start, 0 at the end."""
    return 0.5 * (1 + math.cos(math.pi * fraction))


def threshold_rate(steps: int) -> float:
    """The thresholds' rate for a pruning phase of so many steps.

    A threshold has to travel some 7 standard deviations, 11 in Adam's steps with room to settle. Slower, it arrives
    after the target, the multiplier winds up meanwhile, and the density falls through the target (measured).
    """
    return min(0.1, max(THRESHOLD_LR, 11 / steps))


def _adam(model: nn.Module, schedule: Schedule, steps: int) -> torch.optim.Adam:
    rate = threshold_rate(steps) if schedule.threshold_lr is None else schedule.threshold_lr
    groups = param_groups(model, weight_decay=schedule.weight_decay, threshold_lr=rate)
    return torch.optim.Adam(groups, lr=schedule.lr, fused=True)


@torch.no_grad()
def _record(task: Task, phase: str, epoch: int, loss: float, budget: Budget | None) -> Record:
    sites = transforms_of(task.model)
    return Record(
        phase,
        epoch,
        loss,
        score(task),
        density={site.name: float(site.count()) / site.original.numel() for site in sites},
        thresholds={site.name: float(site.transform.prune.alpha().mean()) for site in sites},
        multipliers=dict(budget.multipliers) if budget else {},
    )
