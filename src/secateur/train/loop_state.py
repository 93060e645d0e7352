"""The state of a training loop: where it stands, what it has to keep, and how it goes on exactly from there."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

import torch

from secateur.errors import DataError, SecateurWarning, TrainingError
from secateur.ir.target import Target
from secateur.nn.harden import Hardening
from secateur.train.average import Average
from secateur.train.best_epoch import UNTUNED, BestEpoch
from secateur.train.budget import Budget
from secateur.train.not_finite import blame
from secateur.train.record import Record, hardening_from, plain, record_from
from secateur.train.replay import batch_checksum, random_state, set_random_state, start_epoch
from secateur.train.schedule import Schedule, adam
from secateur.train.task import Task


class Keeper(Protocol):
    """A place where a loop's state outlives the process. A state is tensors and plain data only."""

    def load(self) -> Mapping[str, Any] | None:
        """The last state, or None at the very start."""

    def save(self, state: Mapping[str, Any]) -> None:
        """Keep this state instead of the last one."""

    def step_done(self, state: Callable[[], Mapping[str, Any]]) -> None:
        """Called between two steps: save if it is time to; where a stop was asked for, save and raise
        KeyboardInterrupt."""


class LoopState:
    """Phase ("prune", "finetune", "done"), epoch, step, and the objects that change with them."""

    def __init__(self, task: Task, target: Target, schedule: Schedule, keeper: Keeper | None) -> None:
        if keeper is not None and schedule.seed is None:
            raise TrainingError("a run that is kept must be able to draw the same batches again: Schedule(seed=0)")
        self.task, self.target, self.schedule, self.keeper = task, target, schedule, keeper
        self.steps = max(1, schedule.prune_epochs * len(task.train))
        self.budget = Budget(task.model, target, steps=self.steps, example=task.example)
        self.history: list[Record] = []
        self.hardening: Hardening | None = None
        self.score_soft = self.score_hard = math.nan
        self.kept_epoch: int | None = None
        self._random: Mapping[str, Any] | None = None
        self._batch: Any = None
        self._begin("prune")
        if keeper is not None and (saved := keeper.load()) is not None:
            self._load(saved)

    def _begin(self, phase: str) -> None:
        self.phase, self.epoch, self.step = phase, 0, 0
        self.terms: dict[str, float] = {}
        self.first_batch = 0
        self.best = BestEpoch()
        self.optimizer = adam(self.task.model, self.schedule, self.steps)
        decay = self.schedule.average
        self.average = Average(self.task.model, decay) if decay else None

    def enter(self, phase: str) -> None:
        """The next phase, with a new optimizer; the averaged weights are the weights from here on."""
        self._begin(phase)
        if phase == "finetune":
            self.best.see(self.task.model, UNTUNED, self._merit(self.score_hard))
        self._save()

    def settle_(self) -> None:
        """At the end of a phase the model gets its averaged weights."""
        if self.average:
            self.average.use_()

    def see(self, record: Record) -> None:
        """An epoch was judged, and the model is as it was then: the state to go back to may be this one."""
        if self.phase == "finetune":
            self.best.see(self.task.model, record.epoch, self._merit(record.score))

    def return_to_best_(self) -> None:
        """At the end of fine-tuning, where an earlier state was better."""
        tuned = [record.score for record in self.history if record.phase == "finetune"]
        if tuned and self.best.return_(self.task.model, self._merit(tuned[-1])):
            self.kept_epoch = self.best.epoch

    def averaged(self) -> AbstractContextManager[None]:
        """The averaged weights for as long as something is judged."""
        return self.average.used() if self.average else nullcontext()

    def batches(self) -> Iterator[Any]:
        """What is left of this epoch: from its first batch, or from where the run was interrupted.

        An error of the loader passes through with the number of the batch; the state is saved before.
        """
        skip, self._batch = self.step, None
        seed = self.schedule.seed
        if seed is not None:
            start_epoch(self.task.train, seed, self._epoch_of_all())
        iterator = iter(self.task.train)
        index = 0
        while True:
            if index == skip and self._random is not None:
                set_random_state(self._random)  # before the first batch that counts: a loader may draw for each
                self._random = None
            before = random_state() if self.keeper is not None else None
            try:
                batch = next(iterator)
            except StopIteration:
                break
            except Exception as error:
                self._loader_failed(error, index, before)
                raise
            if index == 0:
                self._compare(batch, resumed=skip > 0)
            if index >= skip:
                self._batch = batch
                yield batch
            index += 1
        if index == 0:
            raise DataError("the training data gave no batch")

    def step_done(self, terms: Mapping[str, float]) -> None:
        """A step is over: means, average, and whatever is to be saved."""
        self.step += 1
        for name, value in terms.items():
            mean = self.terms.get(name, 0.0)
            self.terms[name] = mean + (value - mean) / self.step
        if self.average:
            self.average.step()

    def keep(self) -> None:
        """Between two steps: let the keeper save or stop."""
        if self.keeper is not None:
            self.keeper.step_done(self.state_dict)

    def epoch_done(self, record: Record) -> None:
        """An epoch is over and judged."""
        self.history.append(record)
        self.epoch, self.step, self.terms, self.first_batch = self.epoch + 1, 0, {}, 0
        self._save()

    @contextmanager
    def named(self) -> Iterator[None]:
        """A TrainingError from inside says where in the run it came up."""
        try:
            yield
        except TrainingError as error:
            raise TrainingError(f"{self.where()}: {error}") from error

    def where(self) -> str:
        """ "prune, epoch 0, step 12": step within its phase."""
        return f"{self.phase}, epoch {self.epoch}, step {self.epoch * len(self.task.train) + self.step}"

    def refuse_not_finite(self) -> None:
        """TrainingError where a weight is no number, with the layer it came from; nothing like that is ever saved."""
        if not all(bool(torch.isfinite(p).all()) for p in self.task.model.parameters()):
            raise TrainingError(
                f"a weight became NaN or infinite before {self.where()}: {blame(self.task, self._batch)}"
            )

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain data."""
        self.refuse_not_finite()
        return {
            "phase": self.phase,
            "epoch": self.epoch,
            "step": self.step,
            "terms": dict(self.terms),
            "first_batch": self.first_batch,
            "model": self.task.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "budget": self.budget.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "random": random_state(),
            "history": [plain(record) for record in self.history],
            "hardening": plain(self.hardening) if self.hardening else None,
            "scores": [self.score_soft, self.score_hard],
            "best": self.best.state_dict(),
            "kept_epoch": self.kept_epoch,
        }

    def _load(self, state: Mapping[str, Any]) -> None:
        self._begin(state["phase"])
        self.epoch, self.step = state["epoch"], state["step"]
        self.terms, self.first_batch = dict(state["terms"]), state["first_batch"]
        self.task.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.budget.load_state_dict(state["budget"])
        if self.average:
            self.average.load_state_dict(state["average"])
        self.history = [record_from(row) for row in state["history"]]
        self.hardening = hardening_from(state["hardening"]) if state["hardening"] else None
        self.score_soft, self.score_hard = state["scores"]
        self.best.load_state_dict(state["best"])
        self.kept_epoch = state["kept_epoch"]
        set_random_state(state["random"])
        self._random = state["random"] if self.step else None

    def _save(self) -> None:
        if self.keeper is not None:
            self.keeper.save(self.state_dict())

    def _merit(self, score: float) -> float:
        return score if self.task.higher_is_better else -score

    def _epoch_of_all(self) -> int:
        return self.epoch + (self.schedule.prune_epochs if self.phase == "finetune" else 0)

    def _compare(self, batch: Any, *, resumed: bool) -> None:
        found = batch_checksum(batch)
        if resumed and found != self.first_batch:
            warnings.warn(
                "the training data does not come in the order it had before the interruption, so the result will "
                "differ from that of an unbroken run: draw all random numbers from torch, numpy or random, or from a "
                "torch.Generator that the loader has as `generator`",
                SecateurWarning,
                stacklevel=2,
            )
        self.first_batch = found

    def _loader_failed(self, error: Exception, index: int, before: Mapping[str, Any] | None) -> None:
        """Keep the state as it was before this batch was asked for: half of it may have been drawn."""
        error.add_note(f"while batch {index} of {len(self.task.train)} was loaded ({self.where()})")
        if self.keeper is not None and before is not None and index >= self.step:
            set_random_state(before)
            self.keeper.step_done(self.state_dict)
            self.keeper.save(self.state_dict())
