"""Options of a run, beside what it is to reach: how long, how fast, with which help, and what to do on a miss."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from secateur.errors import TargetError
from secateur.train.distillation import Distillation
from secateur.train.mac_aware import CAP
from secateur.train.precision import FULL
from secateur.train.schedule import MEASURED, Schedule

ON_MISS = ("error", "warn")
NOT_OF_THE_RESULT = ("save_seconds", "on_miss", "times", "code")
"""Options that may change while a run is interrupted."""

TRAINING = ("prune_epochs", "finetune_epochs", "lr", "threshold_lr", "average", "distill", "precision")
"""Options that say how to train."""


@dataclass(frozen=True)
class MacAwareOptions:
    """How `compress` cuts by shares of the computation instead of learning thresholds (`mac_aware`).

    allowance, cap  as for `mac_aware`
    batches         of the training data it looks at, labels unused; 0: the weights alone decide
    rounds          of cutting and fine-tuning on the way to a limit. With a max_drop they are not counted: cutting goes
                    on until that is passed
    """

    allowance: str | None = None
    cap: float = CAP
    batches: int = 0
    rounds: int = 1

    def __post_init__(self) -> None:
        if self.batches < 0:
            raise TargetError(f"batches is a number of batches, 0 or more, got {self.batches}")
        if self.rounds < 1:
            raise TargetError(f"rounds is how often to cut and fine-tune, 1 or more, got {self.rounds}")


@dataclass(frozen=True)
class Options:
    """How `compress` goes about it. Whatever is None is chosen for the task, and the choice is in the result.

    prune_epochs     of self-pruning; finetune_epochs: with exact masks afterwards
    lr               peak rate of the weights (Adam); threshold_lr: constant rate of the thresholds
    average          0, or the decay of a moving average of the weights, which is then validated and packed
    distill          None, or how the dense model's outputs take part in the loss
    precision        of the forward passes in training, "float32" or "bfloat16": faster on processors and GPUs that have
                     it; thresholds, validation and the file stay in float32
    one_shot         None: train. Else cut at once (`one_shot_`), looking at so many batches of the training data,
                     labels unused; 0: the weights alone decide
    mac_aware        None: learn thresholds. Else take them from shares of the computation and fine-tune
    seed             of everything drawn at random during the run
    save_seconds     between two states inside an epoch, at least; one is kept after every epoch anyway
    on_miss          "error": TargetError where the target is missed, "warn": a SecateurWarning; the files are there
                     either way
    times            measure what every layer takes on this machine, dense and compressed: seconds a layer
    code             paths of further files of code: a run whose code changed does not go on
    """

    prune_epochs: int | None = None
    finetune_epochs: int | None = None
    lr: float | None = None
    threshold_lr: float | None = None
    average: float = 0.0
    distill: Distillation | None = None
    precision: str = FULL
    one_shot: int | None = None
    mac_aware: MacAwareOptions | None = None
    seed: int = 0
    save_seconds: float = 60.0
    on_miss: str = "error"
    times: bool = False
    code: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.on_miss not in ON_MISS:
            raise TargetError(f"on_miss is {' or '.join(ON_MISS)}, not {self.on_miss!r}")
        if self.one_shot is not None:
            if self.one_shot < 0:
                raise TargetError(f"one_shot is a number of batches, 0 or more, got {self.one_shot}")
            if trained := [name for name in TRAINING if getattr(self, name) not in (None, 0, FULL)]:
                raise TargetError(f"one_shot trains nothing: leave {', '.join(trained)} away")
        if self.mac_aware is not None and (self.prune_epochs or self.one_shot is not None):
            what = "one_shot" if self.one_shot is not None else "prune_epochs"
            raise TargetError(f"mac_aware learns no thresholds and fine-tunes what it cut: leave {what} away")
        Schedule(
            self.prune_epochs or 0,
            self.finetune_epochs or 0,
            lr=MEASURED.lr if self.lr is None else self.lr,
            threshold_lr=self.threshold_lr,
            average=self.average,
            precision=self.precision,
        )
        if self.seed < 0:
            raise TargetError(f"seed is 0 or more, got {self.seed}")

    def settings(self) -> dict[str, Any]:
        """What of them changes the result, as plain data."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in NOT_OF_THE_RESULT}


CHOSEN = Options()
"""Everything chosen for the task."""
