"""Which pattern a weight has, whoever made it: the fewest of every m weights that no group exceeds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from secateur.ir.pattern import GROUPS, Pattern, balance_of

if TYPE_CHECKING:
    from jaxtyping import Bool, Int64, Shaped

SIZES = (4, 8, 16, 32)
"""Groups that are looked for: what kernels and matrix units read, and their neighbours."""
LEAST_FILLED = 0.75
"""Of the weights that a pattern lets stay at least so many do; with fewer it is met by chance."""
FEWEST_GROUPS = 16
"""In fewer groups as well."""


@dataclass(frozen=True)
class FoundPattern:
    """A pattern, and how many groups have how many weights that are not zero: counts[c] have c."""

    pattern: Pattern
    counts: tuple[int, ...]

    @property
    def most(self) -> int:
        """Weights of the fullest group."""
        return len(self.counts) - 1

    @property
    def mean(self) -> float:
        """Weights of a group."""
        return sum(count * groups for count, groups in enumerate(self.counts)) / sum(self.counts)

    @property
    def idle(self) -> float:
        """The share of lane time that is idle while one lane works on the fullest group."""
        return 1 - balance_of(self.counts)

    @property
    def entries(self) -> int:
        """Places for weights that a kernel goes through: those of the fullest group, in every group."""
        return self.most * sum(self.counts)

    def __str__(self) -> str:
        return f"{self.pattern}, {self.mean:.2f} of {self.most} a group, {self.idle:.0%} of lanes idle"


def found_pattern(weight: Shaped[np.ndarray, ...], input_axis: int = 1) -> FoundPattern | None:
    """The pattern that leaves least of a weight: n of every m inputs of an output (at one kernel position), else of its
    whole row ("banks"). The smallest m of equals; None where none holds, or one by chance alone.

    input_axis  1, of transposed convolutions 0
    """
    if weight.ndim < 2 or not weight.size:
        return None
    kept = np.moveaxis(np.asarray(weight != 0), input_axis, 1)
    if kept.all() or not kept.any():
        return None
    for groups in GROUPS[: 2 if kept.ndim > 2 else 1]:
        rows = _rows(kept, groups)
        found = min(_candidates(rows, groups), key=lambda one: one[:2], default=None)
        if found is not None:
            return found[2]
    return None


def holds(pattern: Pattern, weight: Shaped[np.ndarray, ...], input_axis: int = 1) -> bool:
    """Whether no group of a weight has more than the pattern lets stay (whatever its `also`)."""
    if weight.ndim < 2 or not weight.size:
        return True
    rows = _rows(np.moveaxis(np.asarray(weight != 0), input_axis, 1), pattern.groups)
    return bool((_counts(rows, pattern.m) <= np.array(pattern.kept(rows.shape[1]))).all())


def _rows(kept: Bool[np.ndarray, "outputs inputs *taps"], groups: str) -> Bool[np.ndarray, "rows length"]:
    """Groups are neighbours in a row."""
    if groups == "banks":
        return kept.reshape(len(kept), -1)
    return np.moveaxis(kept, 1, -1).reshape(-1, kept.shape[1])


def _counts(rows: Bool[np.ndarray, "rows length"], m: int) -> Int64[np.ndarray, "rows groups"]:
    return np.add.reduceat(rows, np.arange(0, rows.shape[1], m), axis=1, dtype=np.int64)


def _candidates(rows: Bool[np.ndarray, "rows length"], groups: str) -> Iterator[tuple[int, int, FoundPattern]]:
    """Of every size of which a row has a group the smallest n that holds, where that says anything; before it, what
    stays of a row and the size."""
    nonzeros, length = np.count_nonzero(rows), rows.shape[1]
    for m in (size for size in SIZES if size <= length):
        counts = _counts(rows, m)
        rest, largest = length % m, counts.max(axis=0)
        n = int(largest[: length // m].max(initial=0))
        if rest:  # a shorter group keeps its share, rounded up
            n = max(n, (int(largest[-1]) - 1) * m // rest + 1)
        if not 1 <= n < m or counts.size < FEWEST_GROUPS:
            continue
        pattern = Pattern(n, m, groups=groups)
        stay = sum(pattern.kept(length))
        if stay < length and nonzeros >= LEAST_FILLED * len(rows) * stay:
            yield stay, m, FoundPattern(pattern, tuple(np.bincount(counts.ravel()).tolist()))
