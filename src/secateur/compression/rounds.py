"""MAC-aware pruning in rounds: cut a little more by shares of the computation, fine-tune with fixed masks, judge on
validation, and go on from there: to a limit on multiply-accumulates or density, or until too much is lost.

Source: US20190050735A1 publishes pruning by layer, retraining and doing so again; how much a round cuts is ours.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from itertools import islice

import torch
from torch import nn

from secateur.compression.checkpoint import Checkpoints
from secateur.compression.line import Line, Passed
from secateur.compression.options import MacAwareOptions
from secateur.compression.within_drop import Within
from secateur.errors import PlanError, TargetError
from secateur.ir.target import Target
from secateur.nn.copying import copied
from secateur.nn.prepare import prepare_
from secateur.nn.strip import strip_
from secateur.nn.transform import transforms_of
from secateur.reporting.reading import made_from
from secateur.reporting.rounds import Round
from secateur.reporting.saving import finite
from secateur.train.mac_aware import MacAware, mac_aware, refuse_unsuited
from secateur.train.record import Record, record_from
from secateur.train.replay import start_epoch
from secateur.train.schedule import Schedule

STEP = 0.7
"""Share of what is left that a round leaves, while the limit on the drop holds; its square root after every miss."""
FINEST = 0.92
"""No step finer than this is tried: a network with a tenth less than the one found was seen to lose too much."""
ROUNDS = "rounds.json"


def next_fraction(rounds: Sequence[Round], goal: float, asked: int | None) -> float | None:
    """The fraction that the next round cuts to; None where there is none.

    goal   where it ends, 0 where only the drop limits it
    asked  number of rounds to the goal, None where a limit on the drop decides
    """
    if asked is not None:
        return goal ** ((len(rounds) + 1) / asked) if len(rounds) < asked else None
    if goal >= 1 and not rounds:
        return 1.0  # nothing has to go: one round fine-tunes the network as it is
    held = [one.fraction for one in rounds if one.held]
    step = STEP ** (0.5 ** sum(not one.held for one in rounds))
    good = min(held, default=1.0)
    return None if good <= goal or step > FINEST else max(good * step, goal)


def refuse_rounds(line: Line, target: Target, given: MacAwareOptions) -> None:
    """PlanError or TargetError for what rounds cannot do, before anything is trained."""
    size = dataclasses.replace(target, max_drop=None) if target.wishes() else Target(macs=1)
    refuse_unsuited(line.plan, size, given.allowance, given.cap, data=given.batches > 0)
    several = given.rounds > 1 or target.max_drop is not None
    if several and (line.plan.quantized_maps or any(row.quantize for row in line.plan)):
        raise PlanError("rounds of cutting do not quantize: leave quantize out of the plan, or cut in one round")
    if given.rounds > 1 and target.max_drop is not None:
        raise TargetError("with max_drop cutting goes on until it is passed: leave the number of rounds away")


class Search:
    """The rounds of one run. Every one is kept, so that an interrupted search goes on."""

    def __init__(self, line: Line, target: Target, schedule: Schedule, given: MacAwareOptions) -> None:
        self.line, self.target, self.schedule, self.given = line, target, schedule, given
        self.by_density = target.density is not None
        self.kept_macs = sum(row.macs for row in line.plan if row.prune is None)
        self.macs = sum(row.macs for row in line.plan.pruned)
        self.goal = 0.0
        if target.density is not None:
            self.goal = target.density
        elif target.macs is not None:
            self.goal = (target.macs - self.kept_macs) / self.macs

    @property
    def rounds(self) -> tuple[Round, ...]:
        """What was tried by now."""
        rows = (self.line.folder.read_json(ROUNDS) or {"rounds": []})["rounds"]
        return tuple(made_from(Round, row, ROUNDS) for row in rows)

    def cut_to(self, fraction: float) -> Target:
        """The limit of a round."""
        if fraction <= self.goal:
            return dataclasses.replace(self.target, max_drop=None)
        if self.by_density:
            return Target(density=fraction, values=self.line.values)
        return Target(macs=self.kept_macs + max(1, int(fraction * self.macs)), values=self.line.values)

    @property
    def last(self) -> int:
        """Number of the last round that held, whose network the next one goes on from; 0: the dense one."""
        return max((number for number, one in enumerate(self.rounds, 1) if one.held), default=0)

    def find(self, fraction: float) -> tuple[MacAware, nn.Module]:
        """Thresholds for the last network that held, and that network. TargetError where the cap is in the way."""
        model = self.network(self.last)
        batches = None
        if self.given.batches:
            start_epoch(self.line.task.train, self.schedule.seed or 0, 0)
            batches = list(islice(self.line.task.train, self.given.batches))
        limit, options = self.cut_to(fraction), {"allowance": self.given.allowance, "cap": self.given.cap}
        return mac_aware(model, self.line.plan, limit, batches=batches, **options), model

    def train(self, number: int, fraction: float, started: nn.Module | None = None) -> Passed:
        """Cut a network with thresholds in its gates and fine-tune it, or read that from where it was kept."""
        start = None if started is None else started.state_dict()
        return self.line.train(f"round-{number}", self.cut_to(fraction), self.schedule, start=start)

    def try_(self, fraction: float, found: MacAware, model: nn.Module, say: Callable[[str], None]) -> None:
        """The next round, noted in the run's folder; found, model: of `find`."""
        rounds, started = self.rounds, self.last
        say(f"round {len(rounds) + 1}, from {f'round {started}' if started else 'the dense network'}\n{found}")
        passed = self.train(len(rounds) + 1, fraction, prepare_(model, found.plan))
        drop, limit = self.line.drop(passed.score), self.target.max_drop
        held = limit is None or self.line.within(limit, drop)
        macs = (found.macs_before, found.macs_after)
        done = Round(fraction, started, found.allowance, found.c, *macs, passed.score, drop, held, found.layers)
        rows = [finite(dataclasses.asdict(one)) for one in (*rounds, done)]
        self.line.folder.write_json(ROUNDS, {"rounds": rows})
        say(f"round {len(rounds) + 1}: {told(done)}{'' if held else ', too much'}")

    @torch.no_grad()
    def network(self, number: int) -> nn.Module:
        """A plain copy of what a round ended with, in which weights that were cut have the values they were cut with.

        So the error of a cut is that of everything that is gone by then, and thresholds of all rounds are in the same
        unit. Of the survivors alone, among which none is small, the error per weight would fall as more goes.
        """
        model = copied(self.line.task.model)
        if number:
            state = Checkpoints(self.line.folder.path, f"round-{number}").load()
            assert state is not None
            prepare_(model, self.line.plan).load_state_dict(state["model"])
            values = {site.name: site.original.detach().clone() for site in transforms_of(model)}
            strip_(model)
            for name, value in values.items():
                model.get_parameter(name).copy_(value)
        return model

    def with_history(self, passed: Passed, number: int) -> Passed:
        """A round's pass, with the epochs of the rounds that led to it."""
        history: tuple[Record, ...] = passed.fitted.history
        while number := self.rounds[number - 1].started:
            state = Checkpoints(self.line.folder.path, f"round-{number}").load() or {"history": []}
            history = (*map(record_from, state["history"]), *history)
        return dataclasses.replace(passed, fitted=dataclasses.replace(passed.fitted, history=history))


def in_rounds(
    line: Line, target: Target, schedule: Schedule, given: MacAwareOptions, say: Callable[[str], None]
) -> Within:
    """Cut and fine-tune until the target is reached or its max_drop passed; the last network that holds is taken."""
    search = Search(line, target, schedule, given)
    asked = given.rounds if target.max_drop is None else None
    while (fraction := next_fraction(search.rounds, search.goal, asked)) is not None:
        try:
            found, model = search.find(fraction)
        except TargetError:
            if target.wishes() or not search.rounds:
                raise
            break  # the cap, not the drop, is what ends it
        search.try_(fraction, found, model, say)
    rounds, best = search.rounds, search.last
    taken = best or min(range(1, len(rounds) + 1), key=lambda number: -rounds[number - 1].fraction)
    passed = search.with_history(search.train(taken, rounds[taken - 1].fraction), taken)
    return Within(passed, _missed(target, rounds, best), _notes(rounds, taken, capped=fraction is not None), rounds)


def _missed(target: Target, rounds: Sequence[Round], best: int) -> tuple[str, ...]:
    if target.max_drop is None:
        return ()
    tried = ", ".join(told(one) for one in rounds)
    if not best:
        return (f"max_drop {target.max_drop:g}: every cut tried loses more ({tried})",)
    sizes = ", ".join(f"{name} {value:g}" for name, value in target.wishes().items())
    if sizes and not rounds[-1].held:
        return (f"{sizes} and max_drop {target.max_drop:g} do not hold together: tried {tried}",)
    return ()


def _notes(rounds: Sequence[Round], taken: int, *, capped: bool) -> tuple[str, ...]:
    if len(rounds) == 1 and not capped:
        return ()
    words = f"cut and fine-tuned in {len(rounds)} rounds: {', '.join(told(one) for one in rounds)}"
    end = "; there every tensor was at its cap, the largest share that may go" if capped else ""
    return (f"{words}; the network of round {taken} was packed{end}",)


def told(one: Round) -> str:
    """A round in words."""
    lost = "not judged" if math.isnan(one.drop) else f"loses {one.drop:.4g}"
    return f"{one.macs_after:,} multiply-accumulates {lost}"
