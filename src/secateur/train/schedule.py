"""Schedule: how long and how fast a run trains, and the rates that follow from it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from secateur.errors import TargetError
from secateur.nn.groups import THRESHOLD_LR, WIDTH_LR, param_groups
from secateur.train.distillation import Distillation
from secateur.train.precision import FULL, PRECISIONS


@dataclass(frozen=True)
class Schedule:
    """How long and how fast.

    lr            peak of the weights' rate, for both phases; a cosine brings it to 0 in each
    threshold_lr  constant rate of the thresholds; None: 1e-2, or more where there are few steps to move them in
    average       0, or the decay of an exponential moving average of the weights; the average is then what is
                  validated, hardened and packed. 0.999 looks back over some thousand steps
    distill       None, or how a teacher's outputs take part in the loss
    precision     of the forward passes in training, "float32" or "bfloat16" (`train.precision`); all else is float32
    seed          None leaves random numbers alone; a number seeds torch, numpy and random at the start of every epoch,
                  and the generators of the training batches: what exact resuming needs
    """

    prune_epochs: int = 20
    finetune_epochs: int = 10
    lr: float = 1e-3
    threshold_lr: float | None = None
    weight_decay: float = 0.0
    average: float = 0.0
    distill: Distillation | None = None
    precision: str = FULL
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.prune_epochs < 0 or self.finetune_epochs < 0:
            raise TargetError(f"epochs are counts, got {self.prune_epochs} and {self.finetune_epochs}")
        if not 0 < self.lr < math.inf:
            raise TargetError(f"lr is the peak of the rate, a positive number, got {self.lr}")
        if self.threshold_lr is not None and not 0 <= self.threshold_lr < math.inf:
            raise TargetError(f"threshold_lr is the rate of the thresholds, 0 or more, got {self.threshold_lr}")
        if not 0 <= self.weight_decay < math.inf:
            raise TargetError(f"weight_decay is a share that pulls weights to zero, 0 or more, got {self.weight_decay}")
        if self.precision not in PRECISIONS:
            raise TargetError(f"precision is {' or '.join(PRECISIONS)}, not {self.precision!r}")
        if not 0 <= self.average < 1:
            raise TargetError(f"average is 0 or the decay of a moving average, below 1, got {self.average}")

    def epochs(self, phase: str) -> int:
        """Epochs of the phase "prune" or "finetune"."""
        return {"prune": self.prune_epochs, "finetune": self.finetune_epochs}[phase]


OWN_RATES = ("thresholds", "widths", "ranges")
"""Groups whose rate does not fall."""

MEASURED = Schedule()
"""What the recipe was measured with, on 55,000 images in batches of 64."""


def adam(model: nn.Module, schedule: Schedule, steps: int) -> torch.optim.Adam:
    """The optimizer of one phase; steps: of the pruning phase, which the thresholds' rate depends on."""
    rate = threshold_rate(steps) if schedule.threshold_lr is None else schedule.threshold_lr
    groups = param_groups(model, weight_decay=schedule.weight_decay, threshold_lr=rate)
    for group in groups:
        if group["name"] == "widths":
            group["lr"] = width_rate(steps)
    return torch.optim.Adam(groups, lr=schedule.lr, fused=True)


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the rate of the weights; thresholds, widths and ranges have constant rates of their own."""
    for group in optimizer.param_groups:
        if group.get("name") not in OWN_RATES:
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


def width_rate(steps: int) -> float:
    """The rate of the widths' logits for a pruning phase of so many steps.

    They learn over its second half and have to part by some 4, at the temperature that falls meanwhile.
    """
    return min(0.05, max(WIDTH_LR, 8 / steps))
