"""The rules a plan can give: Prune, which weights of a tensor go; Quantize, in how many bits the rest is kept, or a
feature map."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from secateur.errors import PlanError

METHODS = ("threshold",)
FORMS = ("analytic", "straight_through", "dense")
GRANULARITIES = ("tensor", "channel")
LEVELS = ("width",)
SCALES = ("free", "power_of_two")
NARROWEST, WIDEST = 2, 8


@dataclass(frozen=True)
class Prune:
    """How a tensor's weights are cut.

    method       "threshold": self-pruning, US20190180184A1; every tensor learns its own threshold
    form         which gradient: "analytic" (soft gate forward, its exact derivative backward, as published),
                 "straight_through" (hard mask forward, derivative of the soft gate backward),
                 "dense" (soft gate forward; pruned weights keep receiving the full gradient of the loss)
    granularity  one threshold a "tensor" (as published) or one an output "channel"
    start        initial threshold in standard deviations of the trained weights
    """

    method: str = "threshold"
    form: str = "dense"
    granularity: str = "tensor"
    start: float = 0.2

    def __post_init__(self) -> None:
        _check(self, method=METHODS, form=FORMS, granularity=GRANULARITIES)
        if not isinstance(self.start, (int, float)) or not 0 < self.start <= 10:
            raise PlanError(f"Prune(start={self.start!r}): the threshold starts between 0 and 10 standard deviations")


class Widths(tuple[int, ...]):
    """Bit widths in ascending order, none twice; not a range, as a plain pair of numbers is."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"{{{', '.join(map(str, self))}}}"

    def __str__(self) -> str:
        whole = len(self) > 2 and self[-1] - self[0] == len(self) - 1
        return f"{self[0]}-{self[-1]}" if whole else ", ".join(map(str, self))


@dataclass(frozen=True)
class Quantize:
    """In how many bits a tensor's weights are kept, those that pruning leaves where it is pruned too; or a feature map.

    bits         4: four bits; (2, 8): any width from 2 to 8, learned; {2, 4, 8} or a list: one of these, learned. The
                 field is then the ascending tuple of widths, each 2 to 8
    granularity  one range of values a "tensor" or one an output "channel"; the width is one a tensor. A map has one
    level        what the weighted average of US20200293893A1 runs over: "width", quantize-dequantize at every width
    scale        "free": any float16 number; "power_of_two": one of those, for hardware that shifts
    """

    bits: Any = (NARROWEST, WIDEST)
    granularity: str = "tensor"
    level: str = "width"
    scale: str = "free"

    def __post_init__(self) -> None:
        _check(self, granularity=GRANULARITIES, level=LEVELS, scale=SCALES)
        object.__setattr__(self, "bits", _widths(self.bits))


def near(name: object, known: Any) -> str:
    """'; did you mean ...?' when something known is close to a name, else the empty string."""
    close = difflib.get_close_matches(str(name), list(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""


def _check(rule: object, **tables: tuple[str, ...]) -> None:
    for name, allowed in tables.items():
        value = getattr(rule, name)
        if value not in allowed:
            raise PlanError(
                f"{type(rule).__name__}({name}={value!r}): expected one of {', '.join(allowed)}{near(value, allowed)}"
            )


def _widths(bits: object) -> Widths:
    given: list[object] = list(bits) if isinstance(bits, Iterable) and not isinstance(bits, str) else [bits]
    if not given or not all(type(width) is int and NARROWEST <= width <= WIDEST for width in given):
        raise PlanError(
            f"Quantize(bits={bits!r}): a width is {NARROWEST} to {WIDEST} bits; one (4), all in a range ((2, 8)) or "
            "one of several ({2, 4, 8})"
        )
    widths = [width for width in given if isinstance(width, int)]
    if isinstance(bits, tuple) and not isinstance(bits, Widths) and len(widths) == 2:
        if widths[0] > widths[1]:
            raise PlanError(f"Quantize(bits={bits!r}): a range goes from its lower end to its upper, both in it")
        widths = list(range(widths[0], widths[1] + 1))
    return Widths(sorted(set(widths)))
