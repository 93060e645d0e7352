"""Is one function faster than another? Both take turns, so that a busy machine is busy for both."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

LEAST_PAIRS, MOST_PAIRS = 9, 200
LEAST_GAIN = 1.02
"""Less is not worth another algorithm."""


@dataclass(frozen=True)
class Comparison:
    """Medians in microseconds, and whether `after` was faster by more than noise: by LEAST_GAIN in the medians, in the
    median of the pairs, and in the fastest runs, which other programs disturb least."""

    before_us: float
    after_us: float
    faster: bool


def compare(before: Callable[[], object], after: Callable[[], object], *, seconds: float) -> Comparison:
    """Measure for about so many seconds, at least LEAST_PAIRS pairs after two that do not count."""
    pairs: list[tuple[float, float]] = []
    start = perf_counter()
    while len(pairs) < LEAST_PAIRS + 2 or (perf_counter() - start < seconds and len(pairs) < MOST_PAIRS):
        if len(pairs) % 2:
            second = _seconds(after)
            pairs.append((_seconds(before), second))
        else:
            first = _seconds(before)
            pairs.append((first, _seconds(after)))
    return judged(pairs[2:])


def judged(pairs: list[tuple[float, float]]) -> Comparison:
    """What pairs of seconds (before, after) say; at least one pair."""
    middle = statistics.median(before / after for before, after in pairs)
    columns = tuple(zip(*pairs, strict=True))
    before_us, after_us = (1e6 * statistics.median(column) for column in columns)
    fastest = min(columns[0]) / min(columns[1])
    return Comparison(before_us, after_us, faster=min(middle, fastest, before_us / after_us) >= LEAST_GAIN)


def _seconds(function: Callable[[], object]) -> float:
    start = perf_counter()
    function()
    return perf_counter() - start
