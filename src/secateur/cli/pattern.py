"""Patterns as the command line takes them: "4:16", or "1,2,4,8:16" to choose from."""

from __future__ import annotations

import re

from secateur.errors import PlanError
from secateur.ir.rules import PATTERNED, Prune

PATTERN = re.compile(r"(\d{1,4}(?:,\d{1,4})*):(\d{1,4})")


def prune_from(
    pattern: str | None,
    *,
    method: str | None = None,
    also: str | None = None,
    groups: str | None = None,
    form: str | None = None,
    granularity: str = Prune().granularity,
) -> Prune:
    """The rule that these options ask for; without a pattern, and without a method, self-pruning to any mask. PlanError
    for what does not go together."""
    chosen = method or ("balanced" if pattern else Prune().method)
    if pattern is None:
        if chosen in PATTERNED:
            raise PlanError(f"--method {chosen} leaves n of every m weights: say how many, --pattern 4:16")
        if also is not None or groups is not None:
            raise PlanError(f"{'--also' if also else '--groups'} says nothing without --pattern 4:16")
        return Prune(chosen, form, granularity)
    found = PATTERN.fullmatch(pattern.replace(" ", ""))
    if not found:
        raise PlanError(f"--pattern {pattern!r}: n of every m weights (4:16), or several n to choose from (1,2,4,8:16)")
    counts = tuple(int(n) for n in found[1].split(","))
    return Prune(chosen, form, granularity, n=counts, m=int(found[2]), also=also, groups=groups)
