"""The sparsest network whose loss on validation data stays within a limit.

Self-pruning passes through every density from 1 to its target. After its epochs the soft network is kept as a candidate
and a hardened copy is judged. Once that loses more than fine-tuning was seen to win back, the last candidate is
hardened and fine-tuned like any network; where it does not hold the limit, self-pruning stops, as going further would
only lose more. Bisection over the candidates then finds the sparsest that holds. Only validation data is looked at.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from torch import nn

from secateur.compression.candidates import Candidates
from secateur.compression.line import Line, Passed
from secateur.compression.trials import Trials
from secateur.ir.target import Target
from secateur.reporting.rounds import Round
from secateur.train.record import Record
from secateur.train.schedule import Schedule

SPARSEST = 0.02
"""Density that self-pruning heads for where max_drop is the only wish."""
IN_A_ROW = 2
"""So many epochs have to end beyond the limit before the last candidate is tried: one can be an accident."""
STOPPED = "stopped.json"
STATE = "state"


@dataclass(frozen=True)
class Within:
    """What a search came to: the network, what of the wish it does not hold, in words, and the rounds it took where it
    went in rounds."""

    passed: Passed
    missed: tuple[str, ...]
    notes: tuple[str, ...]
    rounds: tuple[Round, ...] = ()


def within_drop(line: Line, target: Target, schedule: Schedule) -> Within:
    """Train for the whole target, as far as it can hold target.max_drop; then look for the sparsest network that
    does."""
    assert target.max_drop is not None
    sizes = target if target.wishes() else dataclasses.replace(target, density=SPARSEST)
    candidates = Candidates(line, STATE)
    trials = Trials(line, candidates, schedule, target.max_drop)
    whole = _whole(line, sizes, schedule, candidates=candidates, trials=trials, limit=target.max_drop)
    if whole and line.within(target.max_drop, line.drop(whole.score)):
        return Within(whole, (), ())
    stopped = line.folder.read_json(STOPPED)
    notes = (_stopped_in_words(stopped, schedule, target.max_drop),) if stopped else ()
    went = f"it loses {line.drop(whole.score):.4g} on validation" if whole else "self-pruning stopped before it"
    best = trials.sparsest()
    if best is None:
        missed = (
            f"max_drop {target.max_drop:g}: every density tried loses more ({trials.told()}); {_sizes(sizes)}: {went}"
        )
        return Within(whole or _with_history(trials.train(0), candidates, 0), (missed,), notes)
    found = _with_history(trials.train(best), candidates, best)
    told = (*notes, f"the sparsest within max_drop is what was packed; tried: {trials.told()}")
    if not target.wishes():
        return Within(found, (), told)
    return Within(found, (f"{_sizes(sizes)} and max_drop {target.max_drop:g} do not hold together: {went}",), told)


class _StoppedError(Exception):
    """Self-pruning stops here."""


def _whole(
    line: Line, sizes: Target, schedule: Schedule, *, candidates: Candidates, trials: Trials, limit: float
) -> Passed | None:
    """The whole pass; None where its self-pruning stopped."""

    def seen(model: nn.Module, record: Record) -> None:
        if record.phase != "prune":
            return
        candidates.add(model, record)
        last = len(candidates.kept) - 1
        if last < 0 or (last not in trials.drops and not _beyond(line, candidates, trials, limit)):
            return
        if not trials.holds(last):
            line.folder.write_json(STOPPED, {**candidates.epochs[-1], "trial": trials.drops[last]})
            raise _StoppedError

    if line.folder.read_json(STOPPED):
        return None
    try:
        return line.train(STATE, sizes, schedule, seen=seen)
    except _StoppedError:
        return None


def _beyond(line: Line, candidates: Candidates, trials: Trials, limit: float) -> bool:
    """Whether the last epochs all ended with a loss that fine-tuning was not seen to win back."""
    last = candidates.epochs[-IN_A_ROW:]
    reach = limit + max(0.0, trials.won_back())
    return len(last) == IN_A_ROW and all(row["drop"] is None or not line.within(reach, row["drop"]) for row in last)


def _stopped_in_words(stopped: dict[str, Any], schedule: Schedule, limit: float) -> str:
    lost = "had no finite score" if stopped["drop"] is None else f"lost {stopped['drop']:.4g}"
    return (
        f"self-pruning stopped after epoch {stopped['epoch'] + 1} of {schedule.prune_epochs}, at density "
        f"{stopped['density']:.3g}: hardened there the network {lost} on validation, and the last network kept on the "
        f"way still lost {stopped['trial']:.4g} when fine-tuned; max_drop is {limit:g}"
    )


def _with_history(passed: Passed, candidates: Candidates, number: int) -> Passed:
    """The pass of a trial, with the epochs of self-pruning that led to it."""
    fitted = passed.fitted
    history = (*candidates.history(number), *fitted.history)
    return dataclasses.replace(passed, fitted=dataclasses.replace(fitted, history=history))


def _sizes(target: Target) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in target.wishes().items())
