"""What became of every layer: pruned, kept or skipped, why, at which threshold, and what it weighs before and after."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from secateur.errors import DataError
from secateur.ir.artifact import Artifact
from secateur.ir.describe import FLOAT32_BYTES, TensorRow, describe
from secateur.ir.formats import CODE_DTYPES
from secateur.ir.naming import module_of
from secateur.ir.pattern import GroupCounts
from secateur.ir.plan import Plan
from secateur.ir.plan_rows import NOT_CHOSEN, TensorPlan
from secateur.reporting.weight_histogram import WeightHistogram

PRUNED, QUANTIZED, KEPT, SKIPPED = FATES = ("pruned", "quantized", "kept", "skipped")
"""pruned: weights were cut, and those that stay quantized where `bits` says so; quantized: all weights stay, quantized;
kept: they could have been, and stay by choice; skipped: nothing could be done, for what the tensor is."""


CODE_BITS = {dtype: int(dtype.removeprefix("int")) for dtype in CODE_DTYPES}
"""Stored dtype of a tensor of codes -> bits of one."""


@dataclass(frozen=True)
class LayerRow:
    """One tensor of the model and what became of it.

    name, kind, shape  state-dict key, type of the module that owns it, shape before anything was removed
    fate, reason       one of FATES, and why; the reason of a pruned tensor may be empty
    method             the rules that changed it: "threshold per tensor", "2-8 bits per tensor"; "" where none did
    threshold          weights below it in magnitude were cut, in units of the weight (the mean where every channel has
                       its own); NaN where there is none
    weights, nonzeros  elements of `shape`, and how many of them are not zero in the file
    moved              weights on the other side of their learned threshold, because the target asked for more or fewer,
                       or a pattern for others
    bytes              before: dense, as float32; after: in the file, 0 where the tensor was folded into another
    macs               multiply-accumulates for one example, before on all weights, after on those that are not zero;
                       0 where unknown
    histogram          of its weights, where one was taken
    bits               of its codes in the file; None where it is stored in floating point, or not at all
    pattern, groups    "4:16" where groups of weights keep equally many, and how many groups kept how many before they
                       were hardened and after; None for a tensor without a pattern
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    fate: str
    reason: str
    method: str
    threshold: float
    weights: int
    nonzeros: int
    moved: int
    bytes_before: int
    bytes_after: int
    macs_before: int
    macs_after: int
    histogram: WeightHistogram | None = None
    bits: int | None = None
    pattern: str | None = None
    groups: GroupCounts | None = None

    def __post_init__(self) -> None:
        if self.fate not in FATES:
            raise DataError(f"{self.name}: a layer is {', '.join(FATES)}, not {self.fate!r}")

    @property
    def density(self) -> float:
        """Fraction of the weights that stays; 0.0 where there are none."""
        return self.nonzeros / self.weights if self.weights else 0.0


class HardenedRow(Protocol):
    """What hardening did to one tensor; `HardenedTensor` is one."""

    @property
    def name(self) -> str: ...
    @property
    def threshold(self) -> float: ...
    @property
    def moved(self) -> int: ...
    @property
    def pattern(self) -> str | None: ...
    @property
    def groups(self) -> GroupCounts | None: ...


class Hardened(Protocol):
    """What hardening did: a common factor on all learned thresholds, a row a tensor; `Hardening` is one."""

    @property
    def factor(self) -> float: ...
    @property
    def tensors(self) -> Sequence[HardenedRow]: ...


def layer_rows(
    plan: Plan, artifact: Artifact, hardened: Hardened, histograms: Iterable[WeightHistogram] = ()
) -> tuple[LayerRow, ...]:
    """One row for every tensor of the plan, with what the artifact packed from that model holds of it."""
    packed = {row.name: row for row in describe(artifact)}
    cut = {row.name: row for row in hardened.tensors}
    drawn = {one.name: one for one in histograms}
    folds = {fold.norm: fold.into for fold in artifact.folds}
    rows = []
    for planned in plan:
        found = next((packed[name] for name in (planned.name, *planned.tied) if name in packed), None)
        row = cut.get(planned.name)
        rows.append(
            LayerRow(
                planned.name,
                planned.kind,
                planned.shape,
                fate=_fate(planned),
                reason=_reason(planned, found, folds),
                method=_method(planned),
                threshold=row.threshold * hardened.factor if row and planned.prune else math.nan,
                weights=planned.size,
                nonzeros=found.nonzeros if found else 0,
                moved=row.moved if row else 0,
                bytes_before=FLOAT32_BYTES * planned.size,
                bytes_after=found.file.total if found else 0,
                macs_before=planned.macs,
                macs_after=planned.reuse * found.nonzeros if found else 0,
                histogram=drawn.get(planned.name),
                bits=CODE_BITS.get(found.dtype) if found else None,
                pattern=row.pattern if row else None,
                groups=row.groups if row else None,
            )
        )
    return tuple(rows)


def _method(planned: TensorPlan) -> str:
    prune, quantize = planned.prune, planned.quantize
    cut = (str(prune) if prune.patterns else f"{prune.method} per {prune.granularity}") if prune else ""
    coded = f"{quantize.bits!s} bits per {quantize.granularity}" if quantize else ""
    return ", ".join(filter(None, (cut, coded)))


def _fate(planned: TensorPlan) -> str:
    if planned.prune:
        return PRUNED
    if planned.quantize:
        return QUANTIZED
    return KEPT if planned.reason == NOT_CHOSEN else SKIPPED


def _reason(planned: TensorPlan, found: TensorRow | None, folds: Mapping[str, str]) -> str:
    """The plan's reason, and what happened to a tensor the file does not hold."""
    if found:
        return planned.reason
    into = folds.get(module_of(planned.name))
    gone = f"folded into {into}" if into else "not in the file: no result depends on it"
    return f"{planned.reason}; {gone}" if planned.reason else gone
