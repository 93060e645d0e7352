"""Balanced sparsity: soft counts of groups, their variance and its gradient, and the projection onto exact counts.

Source: US20200097830A1 publishes: weights are divided into groups, a differentiable mask function of selectable
sharpness and width masks each of them, non-zeros are counted group by group, and the loss is that of the network minus
a multiplier times the variance of the counts, under the constraint that the variance is 0; weights and mask width
descend, the multiplier ascends. Our reading: the mask is h of `maths.threshold`, the soft count of a group the sum of
its h, and

    V = mean over groups of (c_g - s_g D)^2,    D = sum of all c / sum of all s

with s_g the size of a group, so that a shorter last group is compared by its share; where all are of one size, V is the
variance. The multiplier begins at 0 and gains -rate V a step, so it turns negative and minus it times V is a penalty
that grows: that is how the published minus sign and ascent agree.

This file is the definition; `nn.grouping` and `nn.balance` are its realisation in torch and are tested against it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

Rows: TypeAlias = 'Float[np.ndarray, "rows length"]'


def group_counts(h: Rows, m: int) -> Float[np.ndarray, "rows groups"]:
    """The soft count of every group of m consecutive columns, the last one shorter where m does not divide them."""
    return np.add.reduceat(h, np.arange(0, h.shape[1], m), axis=1)


def group_sizes(length: int, m: int) -> Float[np.ndarray, " groups"]:
    """Weights in every group of a row."""
    starts = np.arange(0, length, m)
    return np.minimum(length - starts, m).astype(np.float64)


def variance(counts: Float[np.ndarray, "rows groups"], sizes: Float[np.ndarray, " groups"]) -> float:
    """V of all groups of a tensor; sizes: of the groups of a row."""
    return float(np.mean(_deviations(counts, sizes) ** 2))


def variance_gradient(
    counts: Float[np.ndarray, "rows groups"], sizes: Float[np.ndarray, " groups"]
) -> Float[np.ndarray, "rows groups"]:
    """dV/dc_g = (2/G) [e_g - sum of s e / sum of s] with e = c - s D; the last term is 0 for groups of one size.

    For a weight, dV/dw_j = dV/dc_g dh/dw_j.
    """
    e = _deviations(counts, sizes)
    total = sizes.sum() * len(counts)
    return 2 / counts.size * (e - (sizes * e).sum() / total)


def chance(n: float, m: int) -> float:
    """m d (1 - d), the variance of a count where each of m weights stays with probability d = n/m: V in units of it is
    the same number for every pattern, so one rate of the multiplier fits all (ours)."""
    return n * (1 - n / m)


def in_use(n: int, m: int, done: float) -> int:
    """Of every m weights, how many the network computes with, done 0 to 1 on its way to n: n + (m - n) (1 - done)^3,
    rounded (ours; the cubic is that of Zhu and Gupta, "To prune, or not to prune", arXiv 1710.01878, equation 1)."""
    return round(n + (m - n) * (1 - done) ** 3)


def project(
    score: Rows, m: int, kept: tuple[int, ...], inner: tuple[int, int] | None = None
) -> Bool[np.ndarray, "rows length"]:
    """The mask that keeps kept[g] weights of group g of every row and the largest sum of scores; ties by index, first.

    inner  (a, b): at most a in any b consecutive columns as well. Both constraints are nested, so what may stay is a
           laminar matroid, and the largest a of every b, then the largest of these, is the best of all masks that obey
           both, whatever the scores (a greedy choice is exact on a matroid: Edmonds, Math. Programming 1, 1971)
    """
    rank = np.empty(score.shape, np.int64)
    np.put_along_axis(rank, np.argsort(-score, axis=1, kind="stable"), np.arange(score.shape[1]), axis=1)
    allowed = np.ones(score.shape, bool)
    if inner is not None:
        most, size = inner
        for start in range(0, score.shape[1], size):
            allowed[:, start : start + size] = _first(rank[:, start : start + size], most)
    mask = np.zeros(score.shape, bool)
    for group, start in enumerate(range(0, score.shape[1], m)):
        part = slice(start, start + m)
        ranks = np.where(allowed[:, part], rank[:, part], score.shape[1])
        mask[:, part] = _first(ranks, kept[group])
    return mask


def balance(counts: np.ndarray) -> float:
    """Mean count over largest count, of groups that lanes work on side by side: 1.0 where no lane waits, and 1 minus it
    is the share of lane time that is idle. 1.0 where nothing is left."""
    largest = float(counts.max(initial=0.0))
    return float(counts.mean()) / largest if largest else 1.0


def _deviations(counts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    return counts - sizes * counts.sum() / (sizes.sum() * len(counts))


def _first(ranks: np.ndarray, count: int) -> np.ndarray:
    """True at the `count` lowest ranks of every row."""
    order = np.argsort(ranks, axis=1, kind="stable")
    mask = np.zeros(ranks.shape, bool)
    np.put_along_axis(mask, order[:, :count], True, axis=1)
    return mask
