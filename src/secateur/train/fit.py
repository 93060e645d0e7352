"""fit(): the reference loop. Self-pruning to a target, hardening, fine-tuning; read it to write your own.

The recipe was measured on MNIST and Fashion-MNIST and needs no number per layer: Adam on the weights with a cosine over
the pruning phase, a constant rate on the thresholds, one constraint over the whole network, then masked fine-tuning.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from secateur.errors import TrainingError
from secateur.ir.target import Target
from secateur.nn.harden import Hardening, harden_
from secateur.nn.norms.penalty import lagrange_norms, norm_penalty
from secateur.train.budget import Budget
from secateur.train.distillation import Lesson, lesson_from
from secateur.train.loop_state import Keeper, LoopState
from secateur.train.modes import begin_statistics_, refuse_frozen, train_
from secateur.train.not_finite import blame
from secateur.train.precision import FULL, forward, refuse_unsupported
from secateur.train.record import Fitted, Record, Step
from secateur.train.recording import recorded
from secateur.train.refitting import refit_after_epoch
from secateur.train.schedule import MEASURED, Schedule, cosine, set_rate
from secateur.train.task import Task, examples_of, loss_of, parts_of, score

Watch = Callable[[Step | Record | Hardening], None]


def fit(
    task: Task,
    target: Target,
    *,
    schedule: Schedule = MEASURED,
    watch: Watch = lambda _: None,
    keeper: Keeper | None = None,
    teacher: nn.Module | None = None,
) -> Fitted:
    """Self-prune a task's prepared model to a target, in place; afterwards it is hard and fine-tuned: as after the last
    epoch, or, where that is worse on validation by more than half a point, as after the best.

    watch    sees every step, after every epoch a record with the score on the validation batches, and the hardening
    keeper   where the state is kept; a run that was interrupted goes on from what it holds, exactly
    teacher  the model whose outputs `schedule.distill` matches, usually the dense one; it stays as it is

    TrainingError for a loss that is no number, with the layer that was first, and for a precision the device lacks.
    DataError for epochs of a model whose every parameter is frozen.
    """
    if schedule.prune_epochs or schedule.finetune_epochs:
        refuse_frozen(task.model)
    refuse_unsupported(task.model, schedule.precision)
    lesson = lesson_from(teacher, schedule.distill, schedule.precision)
    train_(task.model)
    run = LoopState(task, target, schedule, keeper)
    if run.phase == "prune":
        _epochs(run, watch, lesson, run.budget)
        run.settle_()
        run.score_soft = run.history[-1].score if run.history else score(task)
        run.hardening = harden_(task.model, target, example=task.example)
        run.score_hard = score(task)
        watch(run.hardening)
        run.enter("finetune")
    if run.phase == "finetune":
        _epochs(run, watch, lesson, None)
        run.settle_()
        run.return_to_best_()
        run.enter("done")
    assert run.hardening is not None
    return Fitted(tuple(run.history), run.hardening, run.score_soft, run.score_hard, run.kept_epoch)


def _epochs(run: LoopState, watch: Watch, lesson: Lesson | None, budget: Budget | None) -> None:
    """What is left of a phase."""
    task, schedule = run.task, run.schedule
    epochs = schedule.epochs(run.phase)
    total = epochs * len(task.train)
    while run.epoch < epochs:
        if run.step == 0:
            begin_statistics_(task.model)
        for batch in run.batches():
            done = run.epoch * len(task.train) + run.step
            set_rate(run.optimizer, schedule.lr * cosine(done / total))
            with run.named():
                terms = train_step(
                    task, batch, run.optimizer, budget=budget, lesson=lesson, precision=schedule.precision
                )
            run.step_done(terms)
            watch(Step(run.phase, done + 1, total, terms["task"]))
            run.keep()
        run.refuse_not_finite()
        with run.averaged():
            refit = refit_after_epoch(run)
            record = dataclasses.replace(recorded(run, budget), cut=refit.cut, grown=refit.grown)
            run.see(record)
            watch(record)
        run.epoch_done(record)


def train_step(
    task: Task,
    batch: Any,
    optimizer: torch.optim.Optimizer,
    *,
    budget: Budget | None = None,
    lesson: Lesson | None = None,
    precision: str = FULL,
) -> dict[str, float]:
    """One step of a loop; returns the terms of its loss: "task", and "distillation", "budget" (its
    constraints), "quantization" and "normalization" where there are such.

    precision: of the forward passes. TrainingError instead of a step where the loss is no number.
    """
    inputs, labels = parts_of(batch)
    outputs = forward(task.model, inputs, precision)
    loss = loss_of(task, outputs, labels)
    terms = {"task": float(loss.detach())}
    if lesson:
        taught = lesson.loss(inputs, outputs)
        terms["distillation"] = float(taught.detach())
        loss = (1 - lesson.weight) * loss + lesson.weight * taught
    if budget:
        pressure = budget()
        terms["budget"] = float(pressure.detach())
        if budget.learns_widths:
            terms["quantization"] = float(budget.quantization_loss().detach())
            terms["budget"] -= terms["quantization"]
        loss = loss + pressure
    if lagrange_norms(task.model):
        penalty = norm_penalty(task.model)
        terms["normalization"] = float(penalty.detach())
        loss = loss + penalty
    if not all(map(math.isfinite, terms.values())):
        named = ", ".join(f"{name} {value:g}" for name, value in terms.items())
        raise TrainingError(
            f"the loss is no number ({named}): {blame(task, batch)}. "
            "Lower the rate (lr), or look at the data and the layer named here"
        )
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if budget:
        budget.step(examples_of(inputs))
    return terms
