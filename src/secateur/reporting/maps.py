"""What became of every feature map: in how many bits it is kept, or why it stays in floating point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from secateur.ir.plan import Plan
from secateur.ir.plan_rows import float_map_bytes


@dataclass(frozen=True)
class MapRow:
    """One feature map of the model.

    name, kind, shape  as in the plan; shape for one example
    signed             whether it can be negative
    values             for one example
    bits               of each; None where it stays in floating point
    rule               the widths that its bits were chosen from: "2-8 bits"; "" where it has no rule
    reason             why it stays in floating point; "" where it does not
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    signed: bool
    values: int
    bits: int | None
    rule: str
    reason: str

    @property
    def bytes(self) -> int:
        """For one example, float32 where it is not quantized."""
        return (self.values * (self.bits or 32) + 7) // 8


class HardenedMapRow(Protocol):
    """What hardening did to one feature map; `HardenedMap` is one."""

    @property
    def name(self) -> str: ...
    @property
    def bits(self) -> int: ...


def map_rows(plan: Plan, hardened: Sequence[HardenedMapRow]) -> tuple[MapRow, ...]:
    """One row for every feature map of the plan; none where it has none."""
    bits = {row.name: row.bits for row in hardened}
    return tuple(
        MapRow(
            row.name,
            row.kind,
            row.shape,
            row.signed,
            row.size,
            bits.get(row.name),
            str(row.quantize) if row.quantize else "",
            row.reason,
        )
        for row in plan.maps
    )


def largest_map_bytes(rows: Sequence[MapRow]) -> int:
    """Of the feature maps, for one example, in float32 where they are not quantized; not those that the caller holds
    (`ir.plan_rows.float_map_bytes`). 0 where there are none."""
    return max((float_map_bytes(row) if row.bits is None else row.bytes for row in rows), default=0)
