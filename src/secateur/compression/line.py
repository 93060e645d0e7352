"""One pass of the line inside a run: prepare, fit, pack, judge the packed network. A run can have several."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import nn

from secateur.compression.checkpoint import Checkpoints
from secateur.compression.histograms import SELF_PRUNED, histograms_from, plain, weight_histograms
from secateur.compression.interrupts import Stop
from secateur.compression.keeping import FolderKeeper
from secateur.compression.run_folder import RunFolder
from secateur.errors import DataError, TargetError
from secateur.ir.artifact import Artifact
from secateur.ir.plan import Plan
from secateur.ir.target import Target
from secateur.nn.bit_operations import bit_operations, read_by
from secateur.nn.copying import copied
from secateur.nn.harden import Hardening
from secateur.nn.map_widths import refuse_large_floats
from secateur.nn.pack import pack
from secateur.nn.prepare import prepare_
from secateur.nn.refit import NONE, Refit, refit_
from secateur.nn.restore import restore_
from secateur.reporting.weight_histogram import WeightHistogram
from secateur.train.fit import fit
from secateur.train.one_shot_result import OneShotStep
from secateur.train.record import Fitted, Record, Step
from secateur.train.schedule import Schedule
from secateur.train.task import Task, holds, score, unscored


@dataclass(frozen=True)
class Passed:
    """What one pass gave: the artifact, the torch model restored from it, its score on validation, and how it came.
    refit: weights that went or came back after fine-tuning, for the file to fill its limit."""

    fitted: Fitted
    artifact: Artifact
    restored: nn.Module
    score: float
    histograms: tuple[WeightHistogram, ...]
    refit: Refit = NONE


Seen = Callable[[nn.Module, Record], None]


@dataclass(frozen=True)
class Line:
    """What all passes of a run share. The task's own model is the dense one and stays as it is."""

    task: Task
    plan: Plan
    folder: RunFolder
    stop: Stop
    watch: Callable[[Step | Record | Hardening | OneShotStep], None]
    values: str
    save_seconds: float

    @cached_property
    def score_dense(self) -> float:
        """Of the dense model, on the validation data; NaN where these cannot tell. DataError for any other NaN."""
        found = self.score(self.task.model)
        if not self.unscored and not math.isfinite(found):
            raise DataError(
                f"the dense model's score on validation is {found}, so nothing could be compared with it: the metric "
                "has to be a number on every batch"
            )
        return found

    @cached_property
    def unscored(self) -> str:
        """Why the validation data cannot give a score, in words; "" where they can."""
        return unscored(self.task)

    def score(self, model: nn.Module) -> float:
        """Of a model on the validation data; NaN where these cannot tell."""
        return math.nan if self.unscored else score(self.task, model)

    def refuse_unscored(self) -> None:
        """DataError where a limit on the drop has nothing to compare."""
        if self.unscored:
            raise DataError(f"max_drop needs a score of the dense model: {self.unscored}")

    def drop(self, found: float) -> float:
        """How much worse than the dense model a score is, in the metric's unit; negative where it is better."""
        return self.score_dense - found if self.task.higher_is_better else found - self.score_dense

    def within(self, limit: float, drop: float) -> bool:
        """Whether a drop is within a limit; not where it is NaN."""
        return holds(drop, limit, self.score_dense)

    def aim(self, target: Target) -> Target:
        """What the prepared tensors must meet so that the whole file meets the target: the multiplications of tensors
        that are not pruned are taken off."""
        if target.macs is not None:
            kept = sum(row.macs for row in self.plan if not row.prune)
            if kept >= target.macs:
                raise TargetError(
                    f"macs {target.macs:,} is out of reach: what the plan keeps takes {kept:,} multiply-accumulates"
                )
            target = dataclasses.replace(target, macs=target.macs - kept)
        if target.bit_operations is not None:
            target = dataclasses.replace(target, bit_operations=target.bit_operations - self._kept_operations(target))
        if target.largest_map_bytes is not None:
            refuse_large_floats(self.plan.maps, target.largest_map_bytes)
        return target

    def _kept_operations(self, target: Target) -> int:
        """Bit operations of tensors that the plan does not change, should their maps get the widest of their widths."""
        assert target.bit_operations is not None
        rows = {row.name: row for row in self.plan if row not in self.plan.changed}
        maps = self.plan.quantized_maps
        widest = {row.name: max(row.quantize.bits) for row in maps if row.quantize is not None}
        kept = bit_operations({name: row.macs for name, row in rows.items()}, {}, widest, read_by(rows, maps))
        if kept >= target.bit_operations:
            raise TargetError(
                f"bit_operations {target.bit_operations:,} is out of reach: what the plan keeps in float32 takes "
                f"{kept:,}"
            )
        return kept

    def train(
        self,
        name: str,
        target: Target,
        schedule: Schedule,
        *,
        start: Mapping[str, Any] | None = None,
        seen: Seen | None = None,
    ) -> Passed:
        """Fit, or go on fitting, a prepared copy of the model, and pack it.

        name   of the states of this pass in the run's folder
        start  state dict of a prepared model, where the pass does not start with the dense one
        seen   is shown the model after every epoch, before its state is kept
        """
        model = prepare_(copied(self.task.model), self.plan)
        if start is not None:
            model.load_state_dict(start)

        def watch(event: Step | Record | Hardening) -> None:
            if isinstance(event, Hardening):
                self.keep_histograms(name, model, event, SELF_PRUNED)
            elif seen and isinstance(event, Record):
                seen(model, event)
            self.watch(event)

        instead = f"everything is kept in {self.folder.path}, the same command goes on from there"
        states = Checkpoints(self.folder.path, name)
        keeper = FolderKeeper(states, self.stop, every_seconds=self.save_seconds, instead=instead)
        task = dataclasses.replace(self.task, model=model)
        self.stop.training = True
        fitted = fit(task, self.aim(target), schedule=schedule, watch=watch, keeper=keeper, teacher=self.task.model)
        self.stop.training = False
        return self.passed(name, model, fitted, target)

    def passed(self, name: str, model: nn.Module, fitted: Fitted, target: Target) -> Passed:
        """Pack a hardened model so that the file holds the target's limits, restore the file and judge it."""
        refit = refit_(model, self.aim(target), self.task.example)
        artifact = pack(model, self.task.example, values=self.values)
        restored = restore_(copied(self.task.model), artifact)
        return Passed(fitted, artifact, restored, self.score(restored), self._histograms(name), refit)

    def keep_histograms(self, name: str, model: nn.Module, hardening: Hardening, label: str) -> None:
        """Right after hardening the weights are those of self-pruning still; fine-tuning moves the ones that stay.
        label: what was done to them."""
        drawn = weight_histograms(self.task.model, model, hardening, label)
        self.folder.write_json(_histogram_file(name), plain(drawn))

    def _histograms(self, name: str) -> tuple[WeightHistogram, ...]:
        told = self.folder.read_json(_histogram_file(name)) or {"histograms": []}
        return histograms_from(told)


def _histogram_file(name: str) -> str:
    return f"{name}-weights.json"
