"""What a training loop tells while it runs, and what it leaves behind."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from secateur.ir.pattern import GroupCounts
from secateur.nn.harden import HardenedMap, HardenedTensor, Hardening


@dataclass(frozen=True)
class Record:
    """The state after an epoch.

    loss         mean loss of the task over the epoch
    score        mean metric on validation data
    density      by pruned tensor, expected fraction of weights that stay
    thresholds   by pruned tensor, in units of the weight
    multipliers  by wish, of the budget
    costs        by wish, its expected cost and the reference the budget asks for by now
    bits         by quantized tensor, expected width of its codes; map_bits: by quantized feature map
    shares       by quantized tensor or feature map, the probability of every width ("4") while widths learn
    rounding     by the same, how much of the task's loss rounding is expected to add, while widths learn
    balance      by tensor in a pattern, mean over largest count of its groups, of the weights it would keep by now
    norms        by LagrangeNorm layer, over the validation data: the largest |mean| / sqrt(s) and |variance / s - 1| of
                 a channel, and the largest size of a multiplier
    terms        by term of the loss ("task", "budget", "quantization", "normalization", "distillation"), its mean over
                 the epoch
    cut, grown   weights that went, or came back, after the epoch, for the file to fill its limit (`refit_`)
    """

    phase: str
    epoch: int
    loss: float
    score: float
    density: dict[str, float]
    thresholds: dict[str, float]
    multipliers: dict[str, float]
    costs: dict[str, tuple[float, float]] = field(default_factory=dict)
    terms: dict[str, float] = field(default_factory=dict)
    bits: dict[str, float] = field(default_factory=dict)
    map_bits: dict[str, float] = field(default_factory=dict)
    shares: dict[str, dict[str, float]] = field(default_factory=dict)
    rounding: dict[str, float] = field(default_factory=dict)
    norms: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    balance: dict[str, float] = field(default_factory=dict)
    cut: int = 0
    grown: int = 0


@dataclass(frozen=True)
class Step:
    """Progress inside a phase, for whoever shows it."""

    phase: str
    done: int
    total: int
    loss: float


@dataclass(frozen=True)
class Fitted:
    """What `fit` did: one record an epoch, the hardening, and the score right before and right after it.

    kept_epoch  of fine-tuning, whose network was gone back to as the last one was worse; -1: the one right after
                hardening; None: the last one was kept
    """

    history: tuple[Record, ...]
    hardening: Hardening
    score_soft: float
    score_hard: float
    kept_epoch: int | None = None


def record_from(data: Mapping[str, Any]) -> Record:
    """The Record whose `dataclasses.asdict` this is."""
    tuples = {key: {name: tuple(numbers) for name, numbers in data[key].items()} for key in ("costs", "norms")}
    return Record(**{**data, **tuples})


def hardening_from(data: Mapping[str, Any]) -> Hardening:
    """The Hardening whose `dataclasses.asdict` this is."""
    tensors, maps = map(_tensor_from, data["tensors"]), (HardenedMap(**row) for row in data["maps"])
    rest = {"bit_operations": data["bit_operations"], "notes": tuple(data.get("notes", ()))}
    return Hardening(data["factor"], tuple(tensors), maps=tuple(maps), **rest)


def _tensor_from(row: Mapping[str, Any]) -> HardenedTensor:
    groups = row.get("groups")
    return HardenedTensor(**{**row, "groups": groups and GroupCounts(tuple(groups["before"]), tuple(groups["after"]))})


def plain(value: Record | Hardening) -> dict[str, Any]:
    """As plain data that `record_from` or `hardening_from` reads back."""
    return dataclasses.asdict(value)
