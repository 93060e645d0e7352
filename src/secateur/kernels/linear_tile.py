"""Tiles of a linear layer: the sums of a block of rows for a few tokens, over some columns of a balanced matrix.

Records are read once for all tokens of a tile; a non-zero of 16 rows is one look-up and one multiply-add a token. Sums
stay in registers, and between two parts of the columns in memory: [token][row].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

from secateur.ir.balanced_format import GROUP, RECORD_BYTES, ROWS, unit_columns
from secateur.kernels.code import I64, PTR, Function, Module, Value, Variable, vector
from secateur.kernels.linear_lanes import FloatLookup, shifted_down
from secateur.kernels.target import Target

ARGUMENTS = {"w": PTR, "x": PTR, "sums": PTR, "units": I64, "fresh": I64}
"""Of every tile: records, activations [unit][group][token][16], sums, how many units, whether sums start at zero."""
GROUP_OF_FLOATS = 64
"""Bytes of 16 float32 inputs."""
CHAINS = {1: 4, 2: 2, 3: 2}
"""Vectors of sums that a tile has -> chains that each is split into, so that additions need not wait for one another."""


@dataclass(frozen=True)
class BalancedTile:
    """A tile for so many tokens, of a matrix with so many non-zeros a group."""

    target: Target
    kind: str
    count: int
    tokens: int

    @property
    def unit_records(self) -> int:
        """Records of a unit: the fewest that hold whole slots of 64 columns."""
        return max(1, self.count // 2)

    @property
    def unit_bytes(self) -> int:
        """Of records."""
        return self.unit_records * RECORD_BYTES[self.kind]

    @property
    def parts(self) -> int:
        """Vectors of 16 rows."""
        return ROWS // self.target.lanes


class Sums:
    """Sums of a tile, by token and part, each split into chains that are used in turn."""

    def __init__(self, f: Function, tile: BalancedTile, kind: str) -> None:
        self.f, self.tile, self.kind = f, tile, kind
        self.chains = CHAINS.get(tile.tokens * tile.parts, 1)
        zero = Value(f, kind, "zeroinitializer")
        places = product(range(tile.tokens), range(tile.parts), range(self.chains))
        self.found: dict[tuple[int, int, int], Variable] = {place: f.variable(kind, zero) for place in places}

    def add(self, token: int, part: int, number: int, term: Callable[[Value], Value]) -> None:
        """term(sum) becomes the sum; `number` chooses the chain."""
        place = self.found[token, part, number % self.chains]
        place.set(self.f.pin(term(place.get()), self.tile.target.register))

    def load(self) -> None:
        """Go on with the sums in memory, where they are not fresh."""
        with self.f.when(self.f["fresh"].equals(0)):
            for token, part in product(range(self.tile.tokens), range(self.tile.parts)):
                self.found[token, part, 0].set(self.f.load(self.kind, self._place(token, part), 16))

    def store(self) -> None:
        """Into memory, chains added up."""
        for token, part in product(range(self.tile.tokens), range(self.tile.parts)):
            total, *others = (self.found[token, part, chain].get() for chain in range(self.chains))
            for other in others:
                total = total + other
            self.f.store(total, self._place(token, part), 16)

    def _place(self, token: int, part: int) -> Value:
        return self.f["sums"] + (token * 4 * ROWS + part * self.tile.target.vector_bytes)


def emit_float_tile(module: Module, tile: BalancedTile) -> None:
    """tile_<tokens>(w, x, sums, units, fresh) for float32."""
    f = module.function(f"tile_{tile.tokens}", ARGUMENTS, inner=True)
    kind = vector(tile.target.lanes)
    sums = Sums(f, tile, kind)
    w, x = f.variable(PTR, f["w"]), f.variable(PTR, f["x"])
    sums.load()
    with f.loop(0, f["units"]):
        for record in range(tile.unit_records):
            _emit_float_record(tile, (w.get() + record * RECORD_BYTES[tile.kind], x.get(), record), sums)
        w.set(w.get() + tile.unit_bytes)
        x.set(x.get() + unit_columns(tile.count) // GROUP * tile.tokens * GROUP_OF_FLOATS)
    sums.store()
    f.give()


def _emit_float_record(tile: BalancedTile, at: tuple[Value, Value, int], sums: Sums) -> None:
    """The 8 non-zeros that a record has of every row."""
    w, x, record = at
    f, target = w.code, tile.target
    look, size, kind = FloatLookup(target), target.vector_bytes, vector(target.lanes)
    nibbles = [f.load(vector(target.lanes, "i32"), w + part * size, 16) for part in range(tile.parts)]
    for entry, part in product(range(8), range(tile.parts)):
        slot, j = divmod(entry, 4)
        group = (4 * (2 * record + slot) + j) // tile.count
        places = look.places(shifted_down(nibbles[part], 8 * j + 4 * slot))
        weights = f.load(kind, w + (64 + 64 * entry + part * size), 16)
        for token in range(tile.tokens):
            table = x + (group * tile.tokens + token) * GROUP_OF_FLOATS
            sums.add(token, part, entry, lambda s, t=table, p=places, v=weights: f.fma(look.take(t, p), v, s))
