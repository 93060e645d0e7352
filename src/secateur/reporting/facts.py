"""What a report says about compressing a network, as pure data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from secateur.ir.describe import TensorRow
from secateur.kernels.acceleration import Acceleration
from secateur.reporting.layers import LayerRow
from secateur.reporting.maps import MapRow
from secateur.reporting.measurement import Change
from secateur.reporting.rounds import Round
from secateur.reporting.times import LayerTime


class EpochRecord(Protocol):
    """What a training loop notes after an epoch; `fit`'s Record is one. It may also have what
    OPTIONAL lists, as an Epoch has it, and `bits` and `map_bits`, which an Epoch has together."""

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
    """The state after an epoch.

    density, densities  fraction of the weights that stays: of all pruned tensors together, and by tensor
    thresholds          by tensor, in units of the weight
    multipliers         by wish of the target: how hard the budget presses
    costs               by wish: the expected cost, and the moving reference it should be at by now, in the wish's unit
    bits                by quantized tensor or feature map, the expected width of its codes
    shares              by the same, the probability of every width ("4") while widths are learned
    rounding            by the same, how much loss rounding is expected to add, while widths are learned
    norms               by layer trained to mean 0 and variance s, on validation data: the largest |mean| / sqrt(s) and
                        |variance / s - 1| of a channel, and the largest size of a multiplier
    balance             by tensor in a pattern, mean over largest count of its groups of weights
    terms               what the loss is the sum of, each a mean over the epoch: task, budget, quantization,
                        normalization, distillation
    """

    phase: str
    loss: float
    score: float
    density: float
    densities: Mapping[str, float] = field(default_factory=dict)
    thresholds: Mapping[str, float] = field(default_factory=dict)
    multipliers: Mapping[str, float] = field(default_factory=dict)
    costs: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    terms: Mapping[str, float] = field(default_factory=dict)
    bits: Mapping[str, float] = field(default_factory=dict)
    shares: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    rounding: Mapping[str, float] = field(default_factory=dict)
    norms: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    balance: Mapping[str, float] = field(default_factory=dict)


OPTIONAL = ("multipliers", "costs", "terms", "shares", "rounding", "norms", "balance")
"""What a record of an epoch may lack."""


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
            more: dict[str, Any] = {name: dict(getattr(record, name, {})) for name in OPTIONAL}
            more["bits"] = {**getattr(record, "bits", {}), **getattr(record, "map_bits", {})}
            by_tensor = dict(record.density), dict(record.thresholds)
            epochs.append(Epoch(record.phase, record.loss, record.score, density, *by_tensor, **more))
        return cls(score, tuple(epochs), unit)


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
    layers        what became of every tensor of the model
    tensors       what is in the file
    maps          what became of every feature map; empty where none was to be quantized
    rounds        of cutting by shares of the computation; empty where thresholds were learned
    times         of layers, before and after, on the machine in `environment`; empty where they were not measured
    header_bytes  of the file, what no tensor accounts for
    environment   what it was measured with
    speed         what `accelerate` made of the model, where it was asked
    """

    title: str
    summary: tuple[Change, ...]
    training: Training | None
    layers: tuple[LayerRow, ...]
    tensors: tuple[TensorRow, ...]
    header_bytes: int
    dead_units: tuple[DeadUnits, ...]
    notes: tuple[str, ...]
    environment: Mapping[str, str]
    maps: tuple[MapRow, ...] = ()
    rounds: tuple[Round, ...] = ()
    times: tuple[LayerTime, ...] = ()
    speed: Acceleration | None = None

    @property
    def file_bytes(self) -> int:
        """Size of the whole file."""
        return self.header_bytes + sum(row.file.total for row in self.tensors)
