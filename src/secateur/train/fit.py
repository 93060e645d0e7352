"""fit(): the reference loop. Self-pruning to a target, hardening, fine-tuning; read it to write your own.

The recipe was measured on MNIST and Fashion-MNIST and needs no number per layer: Adam on the weights with a cosine over the
pruning phase, a constant rate on the thresholds, one constraint over the whole network, then masked fine-tuning.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from secateur.errors import TargetError
from secateur.ir.target import Target
from secateur.nn.groups import THRESHOLD_LR, param_groups
from secateur.nn.harden import Hardening, harden_
from secateur.nn.transform import transforms_of
from secateur.train.budget import Budget


class Batches(Sized, Iterable[Any], Protocol):
    """What a loop draws from: (inputs, labels) pairs, iterable once an epoch; a DataLoader is one."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast. lr is the peak of the weights' rate, for both phases; a cosine brings it to 0 in each."""

    prune_epochs: int = 20
    finetune_epochs: int = 10
    lr: float = 1e-3
    threshold_lr: float = THRESHOLD_LR
    weight_decay: float = 0.0


@dataclass(frozen=True)
class Record:
    """The state after an epoch. step counts optimizer steps over both phases; score is what `evaluate` returned."""

    phase: str
    epoch: int
    step: int
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
    model: nn.Module,
    batches: Batches,
    loss: Callable[[Tensor, Any], Tensor],
    target: Target,
    *,
    schedule: Schedule = Schedule(),  # noqa: B008 - frozen
    evaluate: Callable[[nn.Module], float] = lambda _: math.nan,
    watch: Callable[[Step | Record], None] = lambda _: None,
) -> Fitted:
    """Self-prune a prepared model to a target, in place; afterwards it is hard and fine-tuned.

    loss(model(inputs), labels) gives the task's loss; evaluate(model) a score on validation data after every epoch (the
    model is put back into training mode); watch sees every step and every record.
    """
    history: list[Record] = []

    def run(phase: str, epochs: int, optimizer: torch.optim.Optimizer, budget: Budget | None) -> None:
        total = epochs * len(batches)
        for epoch in range(epochs):
            mean = 0.0
            for index, (inputs, labels) in enumerate(batches):
                done = epoch * len(batches) + index
                set_rate(optimizer, schedule.lr * cosine(done / total))
                value = train_step(model, loss, inputs, labels, optimizer, budget)
                if not math.isfinite(value):
                    raise TargetError(f"the loss became {value} in phase {phase}, epoch {epoch}, step {done}: lower the learning rate")
                mean += (value - mean) / (index + 1)
                watch(Step(phase, done + 1, total, value))
            start = history[-1].step if history else 0
            multipliers = dict(budget.multipliers) if budget else {}
            record = _record(model, phase, epoch, start + len(batches), mean, scored(model, evaluate), multipliers)
            history.append(record)
            watch(record)

    model.train()
    budget = Budget(model, target, steps=max(1, schedule.prune_epochs * len(batches)))
    run("prune", schedule.prune_epochs, _adam(model, schedule), budget)
    score_soft = history[-1].score if history else math.nan
    hardening = harden_(model, target)
    score_hard = scored(model, evaluate)
    run("finetune", schedule.finetune_epochs, _adam(model, schedule), None)
    return Fitted(tuple(history), hardening, score_soft, score_hard)


def train_step(
    model: nn.Module,
    loss: Callable[[Tensor, Any], Tensor],
    inputs: Any,
    labels: Any,
    optimizer: torch.optim.Optimizer,
    budget: Budget | None = None,
) -> float:
    """One step of a self-pruning loop; returns the task's loss."""
    task = loss(model(inputs), labels)
    optimizer.zero_grad()
    (task + budget() if budget else task).backward()
    optimizer.step()
    if budget:
        budget.step()
    return float(task.detach())


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the rate of everything but the thresholds, whose rate stays constant."""
    for group in optimizer.param_groups:
        if group.get("name") != "thresholds":
            group["lr"] = lr


def cosine(fraction: float) -> float:
    """1 at the start, 0 at the end."""
    return 0.5 * (1 + math.cos(math.pi * fraction))


def scored(model: nn.Module, evaluate: Callable[[nn.Module], float]) -> float:
    """evaluate(model) in evaluation mode and without gradients; back to training mode afterwards."""
    model.eval()
    with torch.no_grad():
        score = evaluate(model)
    model.train()
    return score


def _adam(model: nn.Module, schedule: Schedule) -> torch.optim.Adam:
    groups = param_groups(model, weight_decay=schedule.weight_decay, threshold_lr=schedule.threshold_lr)
    return torch.optim.Adam(groups, lr=schedule.lr, fused=True)


@torch.no_grad()
def _record(
    model: nn.Module, phase: str, epoch: int, step: int, loss: float, score: float, multipliers: dict[str, float]
) -> Record:
    sites = transforms_of(model)
    density = {site.name: float(site.count()) / site.original.numel() for site in sites}
    thresholds = {site.name: float(site.transform.prune.alpha().mean()) for site in sites}
    return Record(phase, epoch, step, loss, score, density, thresholds, multipliers)
