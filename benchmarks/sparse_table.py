"""What bench_sparse_conv.py kept, read back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]


def read_rows(path: Path, machine: str) -> dict[tuple[str, int], Row]:
    """The last row of each layer and batch of this machine."""
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [row for row in map(json.loads, lines) if row["machine"] == machine]
    return {(row["layer"], row["batch"]): row for row in rows}


def best_ratio(row: Row, ours: str, others: Iterable[str]) -> float:
    """Median ratio to the fastest of the others that computed the layer right; 0.0 where there is none."""
    found = row["ratios"].get(ours, {})
    return min((found[other][1] for other in others if other in found), default=0.0)
