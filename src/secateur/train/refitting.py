"""When a loop that fine-tunes brings the file to its limit again: early enough for what comes back to be trained."""

from __future__ import annotations

from secateur.nn.refit import NONE, Refit, refit_
from secateur.train.loop_state import LoopState

REFITTED = (0.25, 0.5, 0.75)
"""Fractions of the epochs of fine-tuning."""


def is_due(epoch: int, epochs: int) -> bool:
    """Whether a fraction of REFITTED was passed in this epoch of fine-tuning, and epochs are left."""
    return epoch + 1 < epochs and any(epoch < point * epochs <= epoch + 1 for point in REFITTED)


def refit_after_epoch(run: LoopState) -> Refit:
    """Cut weights, or give weights back, where it is time to."""
    if run.phase != "finetune" or not is_due(run.epoch, run.schedule.finetune_epochs):
        return NONE
    return refit_(run.task.model, run.target, run.task.example)
