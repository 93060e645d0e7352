"""What training steps with different norms take: processor time, methods in turn."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.nn import functional as F

import secateur as sct

Step = Callable[[], None]


def step_of(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor], *, every: int = 0) -> Step:
    """A training step by SGD with momentum, one call for all parameters; with the penalty in the loss of every so many
    steps, from the first on, or not at all (0)."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=1e-3, momentum=0.9, fused=True)
    images, labels = batch
    steps = itertools.count()

    def step() -> None:
        loss = F.cross_entropy(model(images), labels)
        if every:
            loss = loss + sct.norm_penalty(model, step=next(steps), every=every)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def seconds(steps: Mapping[str, Step], rounds: int, turn: int = 8) -> dict[str, list[float]]:
    """Seconds of processor time a step, a number a round; in every round each method takes `turn` steps."""
    for step in steps.values():
        for _ in range(turn):
            step()
    found: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            start = time.process_time()
            for _ in range(turn):
                step()
            found[name].append((time.process_time() - start) / turn)
    return found


def ratios(found: Mapping[str, list[float]], rival: str) -> dict[str, float]:
    """Method -> median over rounds of its time over the rival's in the same round."""
    return {
        name: round(statistics.median(a / b for a, b in zip(times, found[rival], strict=True)), 3)
        for name, times in found.items()
    }
