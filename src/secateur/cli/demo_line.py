"""The whole line on the demo's data: train, plan, prepare_, fit, harden_, pack, check; what was measured on the way."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch

from secateur.cli.demo_network import Images, LeNet5
from secateur.cli.oracle import Oracle
from secateur.compression.histograms import weight_histograms
from secateur.compression.watching import Event
from secateur.ir.artifact import Artifact
from secateur.ir.plan import Plan
from secateur.ir.rules import Prune
from secateur.ir.target import Target
from secateur.nn.check import Check, check_file
from secateur.nn.copying import copied
from secateur.nn.harden import Hardening
from secateur.nn.pack import pack
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_
from secateur.reporting.facts import Epoch
from secateur.reporting.weight_histogram import WeightHistogram
from secateur.train.fit import fit, train_step
from secateur.train.record import Fitted, Step
from secateur.train.schedule import Schedule, cosine, set_rate
from secateur.train.task import Task, score

DENSE = "dense"
VALUES = "float16"
"""How the artifact stores its numbers."""


@dataclass(frozen=True)
class Recipe:
    """How long everything takes, in epochs, and how many weights are to stay."""

    dense_epochs: int
    schedule: Schedule
    density: float
    lr: float = 1e-3


@dataclass(frozen=True)
class DemoResult:
    """What came out.

    dense, packed  the artifacts of the trained network before (float32) and after compression (VALUES)
    epochs         of dense training; `fitted` has those after it
    histograms     of the weights, dense and at the end of self-pruning
    check          the packed artifact beside the torch model restored from it, on all test images
    accuracy_*     on the test images, which are read once, after everything was decided
    """

    dense: Artifact
    packed: Artifact
    plan: Plan
    epochs: tuple[Epoch, ...]
    fitted: Fitted
    histograms: tuple[WeightHistogram, ...]
    check: Check
    accuracy_dense: float
    accuracy_packed: float


Watch = Callable[[Event], None]


def run_line(task: Task, test: Images, recipe: Recipe, watch: Watch) -> DemoResult:
    """Train `task.model` from scratch, compress it in place, and verify the artifact on the test images."""
    epochs = train_dense(task, recipe, watch)
    dense = copied(task.model)
    rows = plan(task.model, task.example, prune=Prune())
    prepare_(task.model, rows)
    histograms: list[WeightHistogram] = []

    def draw(event: Event) -> None:
        if isinstance(event, Hardening):
            histograms.extend(weight_histograms(dense, task.model, event))
        watch(event)

    fitted = fit(task, Target(density=recipe.density), schedule=recipe.schedule, watch=draw)
    packed = pack(task.model, task.example, values=VALUES)
    held_out = dataclasses.replace(task, val=test)
    return DemoResult(
        dense=pack(dense, task.example),
        packed=packed,
        plan=rows,
        epochs=tuple(epochs),
        fitted=fitted,
        histograms=tuple(histograms),
        check=check_file(packed, LeNet5(), test.images),
        accuracy_dense=score(held_out, dense),
        accuracy_packed=score(held_out, Oracle(packed)),
    )


def train_dense(task: Task, recipe: Recipe, watch: Watch) -> list[Epoch]:
    """Train the untrained network: Adam, its rate on a cosine to 0. One Epoch an epoch."""
    optimizer = torch.optim.Adam(task.model.parameters(), lr=recipe.lr, fused=True)
    total, done, history = recipe.dense_epochs * len(task.train), 0, []
    task.model.train()
    for _ in range(recipe.dense_epochs):
        mean = 0.0
        for index, batch in enumerate(task.train):
            set_rate(optimizer, recipe.lr * cosine(done / total))
            loss = train_step(task, batch, optimizer)["task"]
            mean += (loss - mean) / (index + 1)
            done += 1
            watch(Step(DENSE, done, total, loss))
        history.append(Epoch(DENSE, mean, score(task), 1.0))
        watch(history[-1])
    return history
