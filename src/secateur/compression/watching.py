"""Events of a training loop, told to whoever shows progress."""

from __future__ import annotations

from collections.abc import Callable

from secateur.nn.harden import Hardening
from secateur.reporting.facts import Epoch
from secateur.reporting.progress import Progress
from secateur.train.one_shot_result import OneShotStep
from secateur.train.record import Record, Step

PHASES = {
    "dense": "train dense",
    "prune": "self-prune",
    "finetune": "fine-tune",
    "measure": "measure layers",
    "repair": "repair layers",
    "calibrate": "correct biases",
}
"""Phase of a loop -> what a person reads."""

Event = Step | Record | Epoch | Hardening | OneShotStep


def watcher(progress: Progress) -> Callable[[Event], None]:
    """A `watch` for `fit`: every step moves the bar, every epoch renews what stands beside it."""
    told = ""

    def watch(event: Event) -> None:
        nonlocal told
        if isinstance(event, Step):
            detail = f"loss {event.loss:.3f}{told}"
            progress.advance(PHASES.get(event.phase, event.phase), event.done, event.total, detail)
        elif isinstance(event, OneShotStep):
            progress.advance(PHASES[event.phase], event.done, event.total, event.layer)
        elif isinstance(event, (Record, Epoch)):
            told = f", on validation {event.score:.4g}"

    return watch
