"""The float network that a pruning benchmark starts from: one checkpoint a seed, shared by all methods."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from image_data import Batches, Images, error
from pruning_run import BATCH, save_whole

WEIGHT_DECAY = 5e-4
WARMUP = 0.05
"""Fraction of the steps in which the rate rises to its peak; a cosine takes it to 0 afterwards."""


@dataclass(frozen=True)
class FloatCourse:
    """How a float network is trained. lr: the peak of its rate. precision: "bfloat16" runs the forward pass under
    autocast, "float32" does not."""

    epochs: int
    lr: float
    seed: int
    precision: str = "bfloat16"


def float_network(model: nn.Module, data: Images, path: Path, course: FloatCourse) -> float:
    """Train the model in place, or load it from `path` if it was trained before, in whichever precision; returns its
    validation error in per cent. Interrupted, training goes on after its last epoch."""
    state: dict[str, Any] = torch.load(path, weights_only=True) if path.exists() else {"epoch": 0}
    batches = Batches(data, BATCH, torch.Generator().manual_seed(course.seed), augmented=True)
    model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=course.lr, momentum=0.9, nesterov=True, weight_decay=WEIGHT_DECAY
    )
    if state["epoch"]:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        batches.generator.set_state(state["generator"])
    total = course.epochs * len(batches)
    for epoch in range(state["epoch"], course.epochs):
        for index, (images, labels) in enumerate(batches.epoch()):
            for group in optimizer.param_groups:
                group["lr"] = course.lr * _rate((epoch * len(batches) + index) / total)
            with torch.autocast("cpu", torch.bfloat16, enabled=course.precision == "bfloat16"):
                logits = model(images)
            loss = F.cross_entropy(logits.float(), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        whole = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch + 1}
        save_whole(path, {**whole, "generator": batches.generator.get_state()})
        print(
            f"float epoch {epoch + 1}/{course.epochs}: validation error {error(model, data.validation):.2f} %",
            flush=True,
        )
    return error(model, data.validation)


def _rate(fraction: float) -> float:
    return min(1.0, fraction / WARMUP) * 0.5 * (1 + math.cos(math.pi * fraction))
