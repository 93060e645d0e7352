"""Tiles of a linear layer: the sums of a block of rows for a few tokens, all in registers.

Records are read once for all tokens of a tile; a non-zero of 16 rows is one look-up and one multiply-add a token. What
is looked up may come from the second-level cache, as every line of it serves n entries in turn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

from secateur.ir.balanced_format import RECORD_BYTES, ROWS
from secateur.kernels.code import I64, PTR, Function, Module, Value, Variable, vector
from secateur.kernels.linear_form import Form
from secateur.kernels.linear_lanes import FloatLookup, shifted_down
from secateur.kernels.memory import CACHE_LINE_BYTES
from secateur.kernels.target import Target

ARGUMENTS = {"w": PTR, "x": PTR, "sums": PTR, "units": I64, "scales": PTR, "blocks": I64}
"""Of every tile: records, activations [unit][group or slot][token][64 bytes], where sums go, [16 rows][token][row], how
many units, scales a unit where a form has them, and how many blocks of rows, one after the other."""
TOKEN_BYTES = 64
"""Of a token between two others: 16 float32 inputs, or 64 bytes."""
SPAN_BYTES = 4096
"""Sums that are made before any is used: few enough to stay in the first-level cache, enough that calls of functions do
not count where a block's sums are few."""
AHEAD_BYTES = 8192
"""Measured: weights that come from the third-level cache or memory cost half as much as without, and as with 16 kB."""
ENTRIES = 4
"""Of a row in a slot."""
CHAINS = {1: 4, 2: 2, 3: 2}
"""Vectors of sums that a tile has -> chains that each is split into: additions need not wait for one another."""


class Walk(NamedTuple):
    """Where a unit's records, scales and activations are."""

    w: Value
    scales: Value
    x: Value


@dataclass(frozen=True)
class LinearTile:
    """A tile for so many tokens."""

    target: Target
    form: Form
    tokens: int

    @property
    def spread(self) -> bool:
        """Whether ByteLookup reads a group into every part of a vector."""
        whole = self.form.kind in ("int8", "codes") and self.form.count >= ENTRIES
        return whole and self.target.name == "avx512" and self.tokens == 1

    @property
    def parts(self) -> int:
        """Vectors of a block of rows."""
        return self.form.block_rows(self.target) // self.target.lanes

    @property
    def places(self) -> list[tuple[int, int]]:
        """Every token and part."""
        return list(product(range(self.tokens), range(self.parts)))

    @property
    def arguments(self) -> dict[str, str]:
        """Of the tile's function."""
        return ARGUMENTS

    def place(self, columns: int, token: int) -> int:
        """Bytes from a unit's activations to those of a token, the `columns`-th group or slot."""
        return (columns * self.tokens + token) * TOKEN_BYTES

    def unit_inputs(self, f: Function, number: Value) -> Value:
        """Where a unit's activations are."""
        return f["x"] + number * (self.form.columns * self.form.input_bytes * self.tokens)

    def sum_bytes(self, token: int, part: int) -> int:
        """Where in memory the vector of sums is."""
        block, row = divmod(part * self.target.lanes, ROWS)
        return 4 * ((block * self.tokens + token) * ROWS + row)


class Sums:
    """Sums of a tile, by token and part, each split into chains that are used in turn."""

    def __init__(self, f: Function, tile: LinearTile, kind: str) -> None:
        self.f, self.tile, self.kind = f, tile, kind
        self.chains = CHAINS.get(len(tile.places), 1)
        self.found: dict[tuple[int, int, int], Variable] = {
            (*place, chain): f.variable(kind, self.zero) for place in tile.places for chain in range(self.chains)
        }

    @property
    def zero(self) -> Value:
        """In every lane."""
        return Value(self.f, self.kind, "zeroinitializer")

    def clear(self) -> None:
        """Start at zero."""
        for one in self.found.values():
            one.set(self.zero)

    def add(self, token: int, part: int, number: int, term: Callable[[Value], Value]) -> None:
        """term(sum) becomes the sum; `number` chooses the chain."""
        place = self.found[token, part, number % self.chains]
        place.set(self.f.pin(term(place.get()), self.tile.target.register))

    def total(self, token: int, part: int) -> Value:
        """Chains added up."""
        total, *others = (self.found[token, part, chain].get() for chain in range(self.chains))
        for other in others:
            total = total + other
        return total

    def store(self, to: Value, finish: Callable[[Value], Value] = lambda total: total) -> None:
        """finish(totals) into memory."""
        for place in self.tile.places:
            self.f.store(finish(self.total(*place)), to + self.tile.sum_bytes(*place), 16)


def emit_blocks(
    f: Function, tile: LinearTile, sums: Sums, unit: Callable[[Walk], None], finish: Callable[[Value], Value]
) -> None:
    """unit(walk) for every unit of every block of rows, and each block's sums, finished, into memory: one stream of
    records, as two blocks at a time make memory half as fast."""
    w, scales = f.variable(PTR, f["w"]), f.variable(PTR, f["scales"])
    unit_bytes, sums_bytes = tile.form.unit_bytes(tile.target), 4 * tile.form.block_rows(tile.target) * tile.tokens
    with f.loop(0, f["blocks"]) as number:
        sums.clear()
        with f.loop(0, f["units"]) as place:
            unit(Walk(w.get(), scales.get(), tile.unit_inputs(f, place)))
            w.set(w.get() + unit_bytes)
            scales.set(scales.get() + 2 * ROWS)
        sums.store(f["sums"] + number * sums_bytes, finish)


def ask_ahead(tile: LinearTile, w: Value, size_bytes: int) -> None:
    """Ask for the records that follow after some more. With one token the processor sees by itself what is read."""
    if tile.tokens > 1:
        for line in range(0, size_bytes, CACHE_LINE_BYTES):
            w.code.prefetch(w + (AHEAD_BYTES + line), 2)


def emit_float_tile(module: Module, tile: LinearTile) -> None:
    """tile_<tokens>(...) for float32."""
    f = module.function(f"tile_{tile.tokens}", tile.arguments, inner=True)
    sums = Sums(f, tile, vector(tile.target.lanes))

    def unit(walk: Walk) -> None:
        for record in range(tile.form.records):
            _emit_float_record(tile, walk, record, sums)

    emit_blocks(f, tile, sums, unit, lambda total: total)
    f.give()


def _emit_float_record(tile: LinearTile, walk: Walk, record: int, sums: Sums) -> None:
    """The 8 non-zeros that a record has of every row."""
    w, x = walk.w + record * RECORD_BYTES[tile.form.kind], walk.x
    f, target = w.code, tile.target
    look, size, kind = FloatLookup(target), target.vector_bytes, vector(target.lanes)
    ask_ahead(tile, w, RECORD_BYTES[tile.form.kind])
    nibbles = [f.load(vector(target.lanes, "i32"), w + part * size, 16) for part in range(tile.parts)]
    for entry, part in product(range(8), range(tile.parts)):
        slot, j = divmod(entry, 4)
        group = (4 * (2 * record + slot) + j) // tile.form.count
        places = look.places(shifted_down(nibbles[part], 8 * j + 4 * slot))
        weights = f.load(kind, w + (64 + 64 * entry + part * size), 16)
        for token in range(tile.tokens):
            table = x + tile.place(group, token)
            sums.add(token, part, entry, lambda s, t=table, p=places, v=weights: f.fma(look.take(t, p), v, s))
