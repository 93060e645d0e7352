"""Ranges of feature maps without training, from how their magnitudes are distributed.

Both methods are common practice, e.g. Krishnamoorthi, arXiv 1806.08342, section 2, and Nagel et al., arXiv 2106.08295,
section 3.1: the end of the range is a percentile of the magnitudes, or the one with the least mean squared error.
Magnitudes come as counts of equal bins from 0 to `top`; a bin stands for its middle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from secateur.maths.map_grid import map_level

if TYPE_CHECKING:
    from jaxtyping import Int

TRIED = np.geomspace(0.02, 1.0, 60)
"""Ranges that are tried, in units of the largest magnitude."""
BINS = 4096


@dataclass(frozen=True)
class Range:
    """The end of a range, and the mean squared error relative to the mean square that it leaves; 0 for a map of zeros,
    whose range ends at 0."""

    x_max: float
    error: float


def percentile_end(counts: Int[np.ndarray, " bins"], top: float, percent: float) -> float:
    """The magnitude that so many per cent of the values do not exceed, to the upper end of its bin."""
    wanted = percent / 100 * counts.sum()
    return top * (int(np.searchsorted(np.cumsum(counts), wanted)) + 1) / len(counts)


def range_at(counts: Int[np.ndarray, " bins"], top: float, x_max: float, bits: int, *, signed: bool) -> Range:
    """A given range with the error it leaves at a width."""
    middles = (np.arange(len(counts)) + 0.5) * (top / len(counts))
    energy = float(counts @ middles**2)
    if energy == 0:
        return Range(0.0, 0.0)
    lost = map_level(middles, x_max, bits, signed=signed).value - middles
    return Range(float(x_max), float(counts @ lost**2) / energy)


def least_error(counts: Int[np.ndarray, " bins"], top: float, bits: int, *, signed: bool) -> Range:
    """The range, of TRIED, that leaves the least squared error at a width."""
    found = [range_at(counts, top, share * top, bits, signed=signed) for share in TRIED]
    return min(found, key=lambda one: one.error)
