"""Measured times of layers before and after, beside their multiply-accumulates: where these fall and time does not."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from secateur.ir.text_table import text_table
from secateur.reporting.layers import LayerRow

FELL, GAINED = 2.0, 1.1
"""Multiply-accumulates that fell so many times count, and a time that fell less does not."""


@dataclass(frozen=True)
class LayerTime:
    """One layer on the machine at hand.

    tensor  name of its weight
    by      what computed it before and after: name of an algorithm, or "PyTorch"
    us      median time of a call with the example, in microseconds; NaN where it was not measured
    reason  why it is left to PyTorch afterwards; "" where it is not
    """

    tensor: str
    by_before: str
    by_after: str
    us_before: float
    us_after: float
    reason: str = ""

    @property
    def gain(self) -> float:
        """Times faster; NaN where one of both was not measured."""
        return self.us_before / self.us_after if self.us_after else math.nan


def times_table(layers: Iterable[LayerRow], times: Iterable[LayerTime]) -> str:
    """Multiply-accumulates, bytes and times of every measured layer as text; "" where there is none."""
    rows = {row.name: row for row in layers}
    header = ("tensor", "MACs", "left", "bytes", "us before", "us now", "times faster", "by")
    shown = [_cells(rows[time.tensor], time) for time in times if time.tensor in rows]
    return text_table(header, shown, right=header[1:7]) if shown else ""


def _cells(row: LayerRow, time: LayerTime) -> tuple[str, ...]:
    numbers = ("-" if math.isnan(us) else f"{us:.1f}" for us in (time.us_before, time.us_after))
    gain = "-" if math.isnan(time.gain) else f"{time.gain:.2f}"
    return (
        row.name,
        f"{row.macs_before:,}",
        f"{row.macs_after:,}",
        f"{row.bytes_after:,}",
        *numbers,
        gain,
        time.by_after,
    )


def disagreements(layers: Iterable[LayerRow], times: Iterable[LayerTime]) -> list[str]:
    """A sentence for every layer whose multiply-accumulates fell and whose time did not."""
    measured = {time.tensor: time for time in times}
    found = []
    for row in layers:
        time = measured.get(row.name)
        if time is None or not row.macs_before or not row.macs_after or not math.isfinite(time.gain):
            continue
        fewer = row.macs_before / row.macs_after
        if fewer >= FELL and time.gain < GAINED:
            why = f": {time.reason}" if time.reason else ""
            found.append(
                f"{row.name} has {fewer:.1f} times fewer multiply-accumulates and takes {time.us_after:.0f} us instead "
                f"of {time.us_before:.0f} us on this machine, by {time.by_after}{why}"
            )
    return found
