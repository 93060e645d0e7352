"""The weights of one tensor in bins, with the edge that its threshold draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from secateur.errors import DataError


@dataclass(frozen=True)
class WeightHistogram:
    """Weights of one tensor in bins: edges has one element more than the counts of each series. threshold is the edge
    of the dead zone, in units of the weight."""

    name: str
    edges: tuple[float, ...]
    series: Mapping[str, tuple[int, ...]]
    threshold: float

    def __post_init__(self) -> None:
        ascending = all(a < b for a, b in pairwise(self.edges))
        if len(self.edges) < 2 or not ascending or any(len(n) + 1 != len(self.edges) for n in self.series.values()):
            raise DataError(f"the bins of {self.name} need ascending edges, one more than each series has counts")

    @classmethod
    def of(cls, name: str, series: Mapping[str, np.ndarray], threshold: float, bins: int = 81) -> WeightHistogram:
        """Count the elements of every array in the same symmetric bins; an odd number of bins has one round zero."""
        reach = max([threshold, *(float(np.abs(array).max(initial=0.0)) for array in series.values())])
        edges = np.linspace(-reach or -1.0, reach or 1.0, bins + 1)
        counts = {label: tuple(np.histogram(array, edges)[0].tolist()) for label, array in series.items()}
        return cls(name, tuple(edges.tolist()), counts, threshold)
