"""A Measurement: a number that says what it is, in which unit, and how it was obtained."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from secateur.errors import DataError


def _fraction(value: float) -> str:
    # Three significant digits at least: 0.8 % and 0.84 % are different networks.
    digits = 2 if value == 0 or abs(value) >= 0.01 else min(8, -math.floor(math.log10(abs(value))))
    return f"{100 * value:.{digits}f} %"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _plain(value: float) -> str:
    return f"{value:.4g}"


UNITS: dict[str, Callable[[float], str]] = {
    "fraction": _fraction,
    "bytes": lambda value: f"{_count(value)} B",
    "weights": _count,
    "units": _count,
    "macs": _count,
    "seconds": lambda value: f"{_plain(value)} s",
    "1": _plain,
}
"""Unit -> how a person reads it; "1" is a number without one."""

QUALITIES = ("accuracy", "agreement", "cosine")
"""Names of measurements of which more is known to be better."""


@dataclass(frozen=True)
class Measurement:
    """One measured number.

    name   what was measured: "accuracy"
    value  in `unit`; NaN where there is nothing to measure
    unit   one of UNITS; a fraction lies between 0 and 1 and is shown in per cent
    how    on what and with what: split, number of samples, machine, version
    higher_is_better  of a score: whether a larger one is a better model; None for sizes and costs, and for QUALITIES,
                      which speak for themselves
    """

    name: str
    value: float
    unit: str
    how: str
    higher_is_better: bool | None = None

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise DataError(f"a measurement has no unit {self.unit!r}: use one of {', '.join(UNITS)}")

    @property
    def is_score(self) -> bool:
        """Whether it says how good a model is."""
        return self.name in QUALITIES or self.higher_is_better is not None

    @property
    def is_higher_better(self) -> bool:
        """Of a score: whether more is better."""
        return self.name in QUALITIES if self.higher_is_better is None else self.higher_is_better

    def __str__(self) -> str:
        return UNITS[self.unit](self.value) if math.isfinite(self.value) else "-"


@dataclass(frozen=True)
class Change:
    """The same thing measured before and after."""

    before: Measurement
    after: Measurement

    def __post_init__(self) -> None:
        if (self.before.name, self.before.unit) != (self.after.name, self.after.unit):
            raise DataError(
                f"{self.before.name} in {self.before.unit} and {self.after.name} in {self.after.unit} "
                "are no before and after of one thing"
            )

    def __str__(self) -> str:
        """Percentage points for a score, a difference for a plain number, else how many times smaller."""
        before, after = self.before.value, self.after.value
        if not (math.isfinite(before) and math.isfinite(after)):
            return "-"
        if self.before.is_score and self.before.unit == "fraction":
            return f"{100 * (after - before):+.2f} points"
        if self.before.is_score or self.before.unit == "1":
            return f"{after - before:+.4g}"
        if before == after:
            return "same"
        if not (before and after):
            return "nothing left" if before else "-"
        ratio, word = (before / after, "smaller") if before > after else (after / before, "larger")
        return f"{ratio:.1f}x {word}" if ratio >= 1.1 else f"{100 * abs(before - after) / before:.1f} % {word}"
