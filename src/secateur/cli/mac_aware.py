"""`--method mac-aware` of `secateur plan` and `compress`: thresholds from each layer's share of the computation."""

from __future__ import annotations

import dataclasses
from itertools import islice
from typing import TYPE_CHECKING, Any

from secateur.errors import PlanError
from secateur.ir.plan import Plan
from secateur.ir.rules import near
from secateur.ir.target import Target

if TYPE_CHECKING:
    from secateur.compression.options import MacAwareOptions
    from secateur.train.mac_aware import MacAware
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


def found_plan(task: Task, plan: Plan, target: Target, given: MacAwareOptions, seed: int) -> MacAware:
    """The plan with its thresholds. seed: what batches of the training data are drawn with, the same as a run's."""
    from secateur.train.mac_aware import mac_aware
    from secateur.train.replay import start_epoch

    start_epoch(task.train, seed, 0)
    batches = list(islice(task.train, given.batches)) if given.batches else None
    return mac_aware(task.model, plan, target, allowance=given.allowance, cap=given.cap, batches=batches)


def options_from(allowance: str | None, cap: float | None, batches: int | None, rounds: int | None) -> MacAwareOptions:
    """What the options of the command line say; None: left out."""
    from secateur.compression.options import MacAwareOptions

    given = {"allowance": allowance, "cap": cap, "batches": batches, "rounds": rounds}
    return MacAwareOptions(**{name: value for name, value in given.items() if value is not None})


def plain(found: MacAware) -> dict[str, Any]:
    """What was found, without its plan, as plain data for JSON."""
    told = {name: value for name, value in vars(found).items() if name not in ("plan", "layers")}
    return {**told, "layers": [dataclasses.asdict(row) for row in found.layers]}
