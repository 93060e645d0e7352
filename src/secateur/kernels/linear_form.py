"""Forms of a linear layer's weights, and how its work is cut up for them on each target. Pure numbers."""

from __future__ import annotations

from dataclasses import dataclass

from secateur.ir.balanced_format import GROUP, RECORD_BYTES, ROWS, SCALED_COLUMNS, SLOT_COLUMNS, unit_columns
from secateur.kernels.target import Target

DENSE = "dense int8"
STEP_COLUMNS = 4
"""Columns of a dense matrix whose products one instruction sums up."""
DENSE_ROWS = {"avx512": 32, "avx2": 16, "neon": 16}
"""Rows of a block of a dense matrix: two vectors or more, so that one input serves several sums."""
MOST_TOKENS = {
    "float32": {"avx512": 16, "avx2": 3, "neon": 4},
    "bytes": {"avx512": 20, "avx2": 2, "neon": 4},
    "scaled": {"avx512": 12, "avx2": 1, "neon": 2},
    "dense": {"avx512": 12, "avx2": 3, "neon": 4},
}
"""Tokens of a tile at most: their sums, records and what is looked up fit into the registers."""


@dataclass(frozen=True)
class Form:
    """kind     "float32", "int8" or "codes" of a balanced matrix, or DENSE
    count    n of n:16; GROUP of a dense one
    scaled   whether every SCALED_COLUMNS columns have scales of their own (int8 and codes)
    """

    kind: str
    count: int = GROUP
    scaled: bool = False

    @property
    def name(self) -> str:
        """For people."""
        if self.kind == DENSE:
            return DENSE
        what = {"float32": "float32", "int8": "int8", "codes": "int4"}[self.kind]
        return f"balanced {self.count}:{GROUP} {what}" + (f" group-{SCALED_COLUMNS}" if self.scaled else "")

    @property
    def input_bytes(self) -> int:
        """Of an activation."""
        return 4 if self.kind == "float32" else 1

    @property
    def columns(self) -> int:
        """Of a unit, which columns are filled up to."""
        if self.kind == DENSE:
            return SLOT_COLUMNS
        return SCALED_COLUMNS if self.scaled else unit_columns(self.count)

    @property
    def records(self) -> int:
        """Of a unit."""
        return self.columns * self.count // (8 * GROUP)

    def unit_bytes(self, target: Target) -> int:
        """Of a unit of a block of rows."""
        if self.kind == DENSE:
            return self.block_rows(target) * self.columns
        return self.records * RECORD_BYTES[self.kind]

    def block_rows(self, target: Target) -> int:
        """Rows whose sums a tile makes."""
        return DENSE_ROWS[target.name] if self.kind == DENSE else ROWS

    def most_tokens(self, target: Target) -> int:
        """Of a tile."""
        if self.kind in ("float32", DENSE):
            return MOST_TOKENS["dense" if self.kind == DENSE else "float32"][target.name]
        return MOST_TOKENS["scaled" if self.scaled else "bytes"][target.name]
