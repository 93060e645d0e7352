"""`secateur compress --method mac-aware`: thresholds from each layer's share of the computation, then fine-tuning."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from secateur.cli.output import note
from secateur.errors import PlanError
from secateur.ir.plan import Plan
from secateur.ir.rules import near
from secateur.ir.target import Target

if TYPE_CHECKING:
    from secateur.train.task import Task

SELF_PRUNING, MAC_AWARE = "self-pruning", "mac-aware"
METHODS = (SELF_PRUNING, MAC_AWARE)


def refuse_method(method: str, *, beside: dict[str, bool], alone: dict[str, bool]) -> None:
    """PlanError for a method that is none, and for options that say nothing with the one asked for. beside: those that
    do not go with mac-aware; alone: those that go with it alone."""
    if method not in METHODS:
        raise PlanError(f"--method is {' or '.join(METHODS)}, not {method!r}{near(method, METHODS)}")
    for name, given in (beside if method == MAC_AWARE else alone).items():
        if given:
            how = f"does not go with --method {MAC_AWARE}" if method == MAC_AWARE else f"needs --method {MAC_AWARE}"
            raise PlanError(f"{name} {how}: leave one of them away")


def mac_aware_plan(
    task: Task, plan: Plan | None, target: Target, *, allowance: str | None, cap: float | None, seen: tuple[int, int]
) -> Plan:
    """The plan, or that of everything that can be pruned, with its thresholds; their table goes to standard error.

    seen  how many batches of the training data are looked at, and the seed that they are drawn with: the same again
          where an interrupted run goes on
    """
    from secateur.ir.rules import Prune
    from secateur.nn.planning import plan as plan_model
    from secateur.train.mac_aware import CAP, mac_aware
    from secateur.train.replay import start_epoch

    rows = plan_model(task.model, task.example, prune=Prune()) if plan is None else plan
    count, seed = seen
    start_epoch(task.train, seed, 0)
    batches = list(islice(task.train, count)) if count else None
    found = mac_aware(task.model, rows, target, allowance=allowance, cap=CAP if cap is None else cap, batches=batches)
    note(str(found))
    return found.plan
