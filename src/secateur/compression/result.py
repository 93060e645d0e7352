"""Compression: what a run did, as one value with a JSON form. Every tensor has its row."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from secateur.errors import DataError
from secateur.ir.pattern import GroupCounts
from secateur.ir.target import Target
from secateur.ir.text_table import text_table
from secateur.nn.check import Check
from secateur.reporting.layers import PRUNED, LayerRow
from secateur.reporting.maps import MapRow
from secateur.reporting.reading import made_from
from secateur.reporting.rounds import Round
from secateur.reporting.saving import json_text
from secateur.reporting.times import LayerTime, times_table
from secateur.train.distillation import Distillation
from secateur.train.schedule import Schedule

RESULT_VERSION = 1


@dataclass(frozen=True)
class Compression:
    """The result of `compress`.

    layers        one row a tensor: pruned, kept or skipped and why, threshold, non-zeros, bytes before and after
    maps          one row a feature map; none where the plan has none
    bit_operations  for one example, on weights that are not zero, where multiply-accumulates are known
    factor        common factor that hardening put on all learned thresholds to meet the target
    score_*       mean metric on the validation data: of the dense model; before hardening (soft) and right after it
                  (hard); of the network in the file, fine-tuned, restored into torch
    file_bytes    of model.secat; sha256 is its hash
    check         the file beside the torch model on one validation batch, run by the numpy reference; None where the
                  file holds weights alone and cannot run
    missed        what of the target does not hold, in words; empty where all of it holds
    notes         what else a user should know, in words
    rounds        of cutting by shares of the computation; none where thresholds were learned
    times         of layers on the machine that it ran on; none where they were not asked for
    """

    target: Target
    schedule: Schedule
    layers: tuple[LayerRow, ...]
    factor: float
    score_dense: float
    score_soft: float
    score_hard: float
    score_packed: float
    drop: float
    file_bytes: int
    sha256: str
    check: Check | None
    missed: tuple[str, ...]
    notes: tuple[str, ...]
    maps: tuple[MapRow, ...] = ()
    bit_operations: int = 0
    rounds: tuple[Round, ...] = ()
    times: tuple[LayerTime, ...] = ()

    @property
    def met(self) -> bool:
        """Whether the whole target holds."""
        return not self.missed

    @property
    def density(self) -> float:
        """Fraction of the weights of all pruned tensors that is in the file; 1.0 where none was pruned."""
        rows = [row for row in self.layers if row.fate == PRUNED]
        return sum(row.nonzeros for row in rows) / sum(row.weights for row in rows) if rows else 1.0

    @property
    def bytes_before(self) -> int:
        """Of all parameters as float32."""
        return sum(row.bytes_before for row in self.layers)

    @property
    def macs(self) -> tuple[int, int]:
        """Multiply-accumulates for one example before, and after on weights that are not zero, where known."""
        return sum(row.macs_before for row in self.layers), sum(row.macs_after for row in self.layers)

    def to_json(self) -> str:
        """Text that `from_json` reads back to an equal Compression; numbers that are not finite are null."""
        return json_text("secateur_compression", RESULT_VERSION, self)

    @classmethod
    def from_json(cls, text: str) -> Compression:
        """The Compression in a JSON text; DataError where there is none."""
        try:
            data = json.loads(text)
            if data.pop("secateur_compression") != RESULT_VERSION:
                raise DataError("not the result of a run of this version")
            return _read(data)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"not the result of a run: {error}") from None

    def __str__(self) -> str:
        header = ("tensor", "fate", "why", "threshold", "weights", "kept", "density", "bits", "bytes", "in file")
        rows = [_row(row) for row in self.layers]
        if not any(row.bits for row in self.layers):
            place = header.index("bits")
            header, rows = _without(header, place), [_without(row, place) for row in rows]
        parts = [text_table(header, rows, right=header[3:]), _groups(self.layers), _maps(self.maps)]
        parts.append(times_table(self.layers, self.times))
        return "\n\n".join(filter(None, parts))


def _row(row: LayerRow) -> tuple[str, ...]:
    threshold = f"{row.threshold:.3g}" if math.isfinite(row.threshold) else "-"
    counts = (f"{row.weights:,}", f"{row.nonzeros:,}", f"{100 * row.density:.3g} %")
    bits = str(row.bits) if row.bits else "-"
    return (row.name, row.fate, row.reason or row.method, threshold, *counts, bits, f"{row.bytes_before:,}",
            f"{row.bytes_after:,}")  # fmt: skip


def _groups(layers: tuple[LayerRow, ...]) -> str:
    """How equally groups of weights kept theirs, before hardening and after; "" where none has groups."""
    header = ("tensor", "pattern", "groups", "moved", "balance before", "after", "lanes idle before", "after")
    rows = []
    for row in layers:
        if (groups := row.groups) is not None:
            pair = (groups.balance_before, groups.balance)
            balances, idle = [f"{value:.3f}" for value in pair], [f"{1 - value:.1%}" for value in pair]
            counts = (f"{sum(groups.after):,}", f"{row.moved:,}")
            rows.append((row.name, row.pattern or "-", *counts, *balances, *idle))
    return text_table(header, rows, right=header[2:]) if rows else ""


def _maps(maps: tuple[MapRow, ...]) -> str:
    if not maps:
        return ""
    header = ("map", "rule or why float", "sign", "values", "bits", "bytes")
    rows = [
        (row.name, row.rule or row.reason, "+-" if row.signed else "+", f"{row.values:,}", f"{row.bits or '-'}",
         f"{row.bytes:,}")
        for row in maps
    ]  # fmt: skip
    return text_table(header, rows, right=header[3:])


def _without(row: tuple[str, ...], place: int) -> tuple[str, ...]:
    return (*row[:place], *row[place + 1 :])


def _read(data: dict[str, Any]) -> Compression:
    schedule = data["schedule"]
    distill = Distillation(**schedule["distill"]) if schedule["distill"] else None
    layers = [
        {**row, "shape": tuple(row["shape"]), "threshold": _number(row["threshold"]), "groups": _groups_from(row)}
        for row in data["layers"]
    ]
    fields = {name: _number(data[name]) for name in data if name.startswith("score_") or name in ("drop", "factor")}
    return Compression(
        **{
            **data,
            **fields,
            "target": Target(**data["target"]),
            "schedule": Schedule(**{**schedule, "distill": distill}),
            "layers": tuple(LayerRow(**row) for row in layers),
            "maps": tuple(MapRow(**{**row, "shape": tuple(row["shape"])}) for row in data.get("maps", ())),
            "check": Check(**data["check"]) if data["check"] else None,
            "rounds": tuple(made_from(Round, row, "rounds") for row in data.get("rounds", ())),
            "times": tuple(made_from(LayerTime, row, "times") for row in data.get("times", ())),
            "missed": tuple(data["missed"]),
            "notes": tuple(data["notes"]),
        }
    )


def _groups_from(row: dict[str, Any]) -> GroupCounts | None:
    groups = row.get("groups")
    return GroupCounts(tuple(groups["before"]), tuple(groups["after"])) if groups else None


def _number(value: float | None) -> float:
    return math.nan if value is None else value
