"""What a report says about compressing a network, as pure data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from secateur.ir.describe import TensorRow
from secateur.reporting.measurement import Change


class EpochRecord(Protocol):
    """What a training loop notes after an epoch; `fit`'s Record is one."""

    @property
    def phase(self) -> str: ...
    @property
    def loss(self) -> float: ...
    @property
    def score(self) -> float: ...
    @property
    def density(self) -> Mapping[str, float]: ...
    @property
    def thresholds(self) -> Mapping[str, float]: ...


@dataclass(frozen=True)
class Epoch:
    """The state after an epoch. density is that of all pruned tensors together, densities and thresholds are by tensor
    (a threshold in units of the weight)."""

    phase: str
    loss: float
    score: float
    density: float
    densities: Mapping[str, float] = field(default_factory=dict)
    thresholds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Training:
    """The course of training, one Epoch an epoch over all phases.

    score  what the score is and on which data: "accuracy on 1,000 validation images"
    unit   of the score: "fraction" is shown in per cent, "1" as it is
    """

    score: str
    epochs: tuple[Epoch, ...]
    unit: str = "1"

    @classmethod
    def of(cls, records: Iterable[EpochRecord], sizes: Mapping[str, int], score: str, unit: str = "1") -> Training:
        """From the records of `fit`; sizes: tensor -> number of its weights, which the densities are weighted by."""
        epochs = []
        for record in records:
            total = sum(sizes[name] for name in record.density)
            density = sum(share * sizes[name] for name, share in record.density.items()) / total if total else 1.0
            row = Epoch(record.phase, record.loss, record.score, density, dict(record.density), dict(record.thresholds))
            epochs.append(row)
        return cls(score, tuple(epochs), unit)


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


@dataclass(frozen=True)
class DeadUnits:
    """Channels or neurons of a group of which some were removed, and the tensors that share them."""

    tensors: tuple[str, ...]
    units: int
    removed: int


@dataclass(frozen=True)
class Facts:
    """Everything a report shows.

    summary       before and after
    header_bytes  of the file, what no tensor accounts for
    environment   what it was measured with
    """

    title: str
    summary: tuple[Change, ...]
    training: Training | None
    histograms: tuple[WeightHistogram, ...]
    tensors: tuple[TensorRow, ...]
    header_bytes: int
    dead_units: tuple[DeadUnits, ...]
    notes: tuple[str, ...]
    environment: Mapping[str, str]

    @property
    def file_bytes(self) -> int:
        """Size of the whole file."""
        return self.header_bytes + sum(row.file.total for row in self.tensors)
