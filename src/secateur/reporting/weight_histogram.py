"""The weights of one tensor in bins, with the edge that its threshold draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class WeightHistogram:
    """Weights of one tensor in bins: edges has one element more than the counts of each series. threshold is the edge
    of the dead zone, in units of the weight."""

    name: str
    edges: tuple[float, ...]
    series: Mapping[str, tuple[int, ...]]
    threshold: float

    @classmethod
    def of(cls, name: str, series: Mapping[str, np.ndarray], threshold: float, bins: int = 81) -> WeightHistogram:
        """Count the elements of every array in the same symmetric bins; an odd number of bins has one round zero."""
        reach = max([threshold, *(float(np.abs(array).max(initial=0.0)) for array in series.values())])
        edges = np.linspace(-reach or -1.0, reach or 1.0, bins + 1)
        counts = {label: tuple(np.histogram(array, edges)[0].tolist()) for label, array in series.items()}
        return cls(name, tuple(edges.tolist()), counts, threshold)
