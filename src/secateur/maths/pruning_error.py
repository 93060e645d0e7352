"""The pruning error per weight, the largest removal within an allowance, and allowances from shares of the computation.

Source: US20190050735A1 publishes the quantities and the loop: count multiply-accumulates, allow each layer a pruning
error per weight, prune with a threshold of t standard deviations, and change t while the error exceeds the allowance.
Our reading: PE = ||removed weights||_2 / number removed, relative to the layer's standard deviation; t is found exactly
from sorted |w| and prefix norms instead of in a loop; and allowances as `allowances` has them. Where a unit of removed
energy z^2 (in squared standard deviations) does harm s, saving the most multiply-accumulates for a given harm means to
cut where s z^2 < c^2 MACs / N: t = c sqrt(MACs / (s N)). Equal harm everywhere, s = 1, gives t = c sqrt(MACs / N); harm
in proportion to the share of its own energy that a layer loses, s = 1 / N, gives t = c sqrt(MACs).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from secateur.errors import PlanError

if TYPE_CHECKING:
    from jaxtyping import Float

ALLOWANCES = ("uniform", "linear", "sqrt", "relative", "sensitivity")
"""uniform: the same for every layer. linear: in proportion to its share of the computation. sqrt: what a layer of
normally distributed weights loses at t = c sqrt(MACs / N). relative: the same at t = c sqrt(MACs). sensitivity: the
same at t = c sqrt(MACs / (s N))."""
EMPTY = 4.0
"""Standard deviations below which a normal layer has lost everything; its allowance then grows in proportion to t."""
SMALL = 1e-2
FAINTEST = 1e-6
"""Of the largest sensitivity: what a layer is taken to have at least, so that no threshold is infinite."""


def pruning_error(removed: Float[np.ndarray, "*shape"]) -> float:
    """||removed||_2 / number removed, in units of the weight. Weights that were zero already do not count; 0 where
    nothing is left of them."""
    counted = removed[removed != 0].astype(np.float64)
    return float(np.linalg.norm(counted) / counted.size) if counted.size else 0.0


@dataclass(frozen=True)
class Removals:
    """Every removal that a threshold can make in one layer, by the number of weights that go.

    std    of all weights of the layer, in units of the weight
    sizes  |w| of the weights that are not zero, ascending
    counts, errors  of every removal: numbers of weights, ascending from 0, and the relative pruning error
    """

    std: float
    sizes: np.ndarray
    counts: np.ndarray
    errors: np.ndarray
    _reached: np.ndarray = field(repr=False)

    @classmethod
    def of(cls, w: Float[np.ndarray, "*shape"], cap: float) -> Removals:
        """Of a layer's weights, of which at most the share `cap` may be zero afterwards. O(N log N)."""
        flat = w.ravel().astype(np.float64)
        sizes = np.sort(np.abs(flat[flat != 0]))
        std = float(flat.std())
        if not std > 0 or not math.isfinite(std):
            raise PlanError("weights that are all equal, NaN or infinite have no threshold in standard deviations")
        most = max(0, min(sizes.size, math.floor(cap * flat.size) - (flat.size - sizes.size)))
        counts = np.arange(most + 1)
        # Equal weights go together: a threshold cannot tell them apart.
        ends = np.append(sizes[1:] > sizes[:-1], True) if sizes.size else np.zeros(0, bool)
        counts = counts[np.append(True, ends[:most])]
        norms = np.sqrt(np.append(0.0, np.cumsum(np.square(sizes / std))))[counts]
        errors = norms / np.maximum(counts, 1)
        # The error can fall as more goes, so the first excess says nothing of what comes after it.
        reached = np.minimum.accumulate(errors[::-1])[::-1]
        return cls(std, sizes, counts, errors, reached)

    def within(self, allowance: float) -> int:
        """Index of the largest removal whose relative error is at most the allowance."""
        return int(np.searchsorted(self._reached, allowance, side="right")) - 1 if allowance > 0 else 0

    def threshold(self, index: int) -> float:
        """The estimator t, in standard deviations: half way between the largest weight that goes and the smallest that
        stays."""
        count = int(self.counts[index])
        below = self.sizes[count - 1] if count else 0.0
        above = self.sizes[count] if count < self.sizes.size else 2 * below
        return float(below + above) / 2 / self.std


def normal_error(t: float, size: int) -> float:
    """Expected relative pruning error of `size` standard normal weights below t; in proportion to t above EMPTY.

    With p = P(|z| < t) and q = E[z^2 | |z| < t] = 1 - 2 t phi(t) / p: sqrt(p q N) / (p N) = sqrt(q / (p N)).
    """
    if t <= 0:
        return 0.0
    inside = min(t, EMPTY)
    p = math.erf(inside / math.sqrt(2))
    phi = math.exp(-inside * inside / 2) / math.sqrt(2 * math.pi)
    q = 1 - 2 * inside * phi / p if inside > SMALL else inside * inside / 3
    return math.sqrt(q / (p * size)) * t / inside


def allowances(
    kind: str,
    c: float,
    macs: Float[np.ndarray, " layers"],
    sizes: Float[np.ndarray, " layers"],
    sensitivity: Float[np.ndarray, " layers"] | None = None,
) -> Float[np.ndarray, " layers"]:
    """Relative pruning error per weight that each layer may have; increasing in c. kind: one of ALLOWANCES.

    macs         dense multiply-accumulates of each layer; sizes: its weights
    sensitivity  harm done by a unit of removed relative energy, for "sensitivity" alone
    """
    share = macs / max(float(macs.sum()), 1.0)
    if kind == "uniform":
        return np.full(len(macs), c)
    if kind == "linear":
        return c * share
    harm = np.ones(len(macs))
    if kind == "relative":
        harm = float(sizes.min()) / sizes
    elif sensitivity is not None:
        largest = float(sensitivity.max())
        harm = np.maximum(sensitivity / largest, FAINTEST) if largest > 0 else harm
    estimators = c * np.sqrt(macs / (harm * sizes))
    return np.array([normal_error(float(t), int(size)) for t, size in zip(estimators, sizes, strict=True)])
