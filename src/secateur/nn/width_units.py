"""Bit widths in an average: the step of the first width as the unit of all, and what a code of each counts in it."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from secateur.maths.grid import largest_code
from secateur.nn.pieces import is_one


class Unit(NamedTuple):
    """The step of the first width: a Python number, or one a row as a column."""

    step: Any


class Width(NamedTuple):
    """One width: largest code, codes a unit, what a code counts in units, and its share."""

    largest: int
    ratio: float
    weight: float
    share: float


def unit_of(x_max: Tensor, widths: list[int]) -> Unit:
    """x_max over the first width's largest code; x_max as `weighted_levels` has it."""
    step = x_max / largest_code(widths[0])
    return Unit(step.item() if is_one(x_max) else step.reshape(-1, 1))


def shares_of(p: Tensor, widths: list[int]) -> list[Width]:
    """One a width, with its share p."""
    first = largest_code(widths[0])
    rows = ((share, largest_code(bits)) for share, bits in zip(p.tolist(), widths, strict=True))
    return [Width(largest, largest / first, share * first / largest, share) for share, largest in rows]
