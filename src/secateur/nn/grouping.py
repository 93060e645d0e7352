"""Groups of a weight in torch: its rows as groups divide them, counts of groups, and the exact projection onto n of
every m. Definition and sources: `maths.balance`; which weights form a group: `ir.pattern`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from secateur.ir.pattern import Pattern

ROWS_IN_CACHE = 16_384
"""Groups that are looked at together: 64 KiB a number."""
LONGEST_BUBBLE = 128
"""Comparisons a group up to which comparing all groups number by number is faster than sorting each."""


@dataclass(frozen=True)
class Grouping:
    """How the rows of one tensor lie. input_axis: that of its inputs, 0 or 1; that of its outputs is the other one."""

    shape: tuple[int, ...]
    input_axis: int
    groups: str
    m: int

    @classmethod
    def of(cls, shape: tuple[int, ...], channel_axis: int, pattern: Pattern) -> Grouping:
        """channel_axis: that of the outputs."""
        return cls(shape, 1 - channel_axis, pattern.groups, pattern.m)

    @property
    def length(self) -> int:
        """Of a row."""
        if self.groups == "inputs":
            return self.shape[self.input_axis]
        return math.prod(self.shape) // max(1, self.shape[1 - self.input_axis])

    def rows(self, tensor: Tensor) -> Tensor:
        """The elements as (rows, length): groups are m consecutive columns; differentiable. Something broadcastable to
        the weight, one number an output, becomes (rows, 1)."""
        if tensor.numel() == 1:
            return tensor.reshape(1, 1)
        if self.groups == "banks":
            outputs = tensor.movedim(1 - self.input_axis, 0)
            return outputs.reshape(len(outputs), -1)
        if tensor.shape != self.shape:
            tensor = tensor.expand(tuple(1 if a == self.input_axis else n for a, n in enumerate(self.shape)))
        last = tensor.movedim(self.input_axis, -1)
        return last.reshape(-1, last.shape[-1])

    def whole(self, rows: Tensor) -> Tensor:
        """The other way: (rows, length) in the shape of the weight."""
        axis = 1 - self.input_axis if self.groups == "banks" else self.input_axis
        other = tuple(extent for place, extent in enumerate(self.shape) if place != axis)
        if self.groups == "banks":
            return rows.reshape(self.shape[axis], *other).movedim(0, axis)
        return rows.reshape(*other, self.shape[axis]).movedim(-1, axis)

    def counts(self, tensor: Tensor) -> Tensor:
        """The sum over every group of a tensor of the weight's shape: (rows, groups)."""
        return counts_of(self.rows(tensor), self.m)

    def project(self, score: Tensor, pattern: Pattern) -> Tensor:
        """The mask with exactly the pattern's count of weights in every group and the largest scores; ties by index."""
        rows = self.rows(score)
        return self.whole(project(rows, pattern)).to(score.device)

    def project_keeping(self, score: Tensor, pattern: Pattern, n: Tensor) -> Tensor:
        """`project` with n of every m, as `Pattern.keeping` has it. n: a number on the score's device, up to m."""
        if torch.compiler.is_compiling() or score.device.type != "cpu":
            return self.whole(_project_keeping(self.rows(score), pattern, n))
        other = pattern.keeping(int(n))
        return torch.ones_like(score, dtype=torch.bool) if other is None else self.project(score, other)


def counts_of(rows: Tensor, m: int) -> Tensor:
    """(rows, length) -> (rows, groups), the last group shorter where m does not divide the length."""
    length = rows.shape[1]
    whole = length - length % m
    parts = rows[:, :whole].reshape(len(rows), -1, m).sum(2)
    return torch.cat([parts, rows[:, whole:].sum(1, keepdim=True)], 1) if whole < length else parts


def spread(counts: Tensor, length: int, m: int) -> Tensor:
    """(rows, groups) -> (rows, length): every element gets what its group has."""
    return counts.repeat_interleave(m, 1)[:, :length]


def project(rows: Tensor, pattern: Pattern) -> Tensor:
    """`maths.balance.project` for the groups of a pattern."""
    kept = pattern.kept(rows.shape[1])
    if pattern.inner is not None:
        most, size = pattern.inner
        rows = rows.masked_fill(~_largest(rows, size, (most,) * -(-rows.shape[1] // size)), -torch.inf)
    return _largest(rows, pattern.m, kept)


def _project_keeping(rows: Tensor, pattern: Pattern, n: Tensor) -> Tensor:
    """The number never leaves its device: code that is compiled once serves all of them, and no GPU is waited for."""
    if pattern.inner is not None:
        most, size = pattern.inner
        allowed = _largest(rows, size, (most,) * -(-rows.shape[1] // size)) | (n > most * (pattern.m // size))
        rows = rows.masked_fill(~allowed, -torch.inf)
    length, m = rows.shape[1], pattern.m
    whole = length - length % m
    parts = _ranks(rows[:, :whole].reshape(-1, m)).reshape(len(rows), whole), _ranks(rows[:, whole:])
    sizes = torch.tensor([m] * whole + [length - whole] * (length - whole), device=rows.device)
    return torch.cat(parts, 1) < -(-n * sizes // m)


def _ranks(groups: Tensor) -> Tensor:
    """Of every element in its row, 0 for the largest; of equal ones the first."""
    return groups.argsort(dim=1, descending=True, stable=True).argsort(dim=1)


def _largest(rows: Tensor, m: int, kept: tuple[int, ...]) -> Tensor:
    length = rows.shape[1]
    whole = length - length % m
    mask = torch.empty_like(rows, dtype=torch.bool)
    if whole:
        mask[:, :whole] = _first(rows[:, :whole].reshape(-1, m), kept[0]).reshape(len(rows), whole)
    if whole < length:
        mask[:, whole:] = _first(rows[:, whole:], min(kept[-1], length - whole))
    return mask


def _first(groups: Tensor, count: int) -> Tensor:
    """The largest `count` of every row; of equal ones the first. Where none is equal to the last that stays, which is
    nearly always, no row has to be sorted."""
    if torch.compiler.is_compiling():
        return _sorted_first(groups, count)
    mask = groups >= _edge(groups, count)
    tied = (mask.sum(1) > count).nonzero().flatten()
    if len(tied):
        mask[tied] = _sorted_first(groups[tied], count)
    return mask


def _edge(groups: Tensor, count: int) -> Tensor:
    """The `count`-th largest of every row, (rows, 1). torch's topk takes a CPU four times as long where rows are many
    and short."""
    length = groups.shape[1]
    if groups.device.type != "cpu" or length * min(count, length - count + 1) > LONGEST_BUBBLE:
        return groups.topk(count, 1, sorted=False).values.amin(1, keepdim=True)
    return torch.cat([_bubbled(part.t(), count) for part in groups.split(ROWS_IN_CACHE)])[:, None]


def _bubbled(columns: Tensor, count: int) -> Tensor:
    """The `count`-th largest down the first axis: the beginning of a bubble sort of all columns at once, from the side
    that is nearer."""
    rows = list(columns.contiguous().unbind())
    length = len(rows)
    upwards = 2 * count <= length
    for passed in range(count if upwards else length - count + 1):
        for step in range(length - 1 - passed):
            low, high = (step, step + 1) if upwards else (length - 2 - step, length - 1 - step)
            rows[low], rows[high] = torch.minimum(rows[low], rows[high]), torch.maximum(rows[low], rows[high])
    return rows[length - count]


def _sorted_first(groups: Tensor, count: int) -> Tensor:
    order = groups.sort(dim=1, descending=True, stable=True).indices[:, :count]
    return torch.zeros_like(groups, dtype=torch.bool).scatter(1, order, True)
