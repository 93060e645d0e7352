"""The register tile: a few rows times a few vectors of a matrix product, accumulated in registers over a whole walk.

    c[i, j] = sum over the walk of a[i] b[j]

Rows i lie at a constant distance in memory (tiles of a fast convolution, pixels of a direct one), j runs over output
channels in `columns` vectors. The walk is three loops deep, outer x middle x inner (kernel rows, kernel columns or
channel blocks, channels); a moves by its own step at each level and by one float in the inner loop, b by `columns`
vectors in the inner loop. What is done with the accumulators is the caller's: `store` gets row, column and the vector.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from secateur.kernels.code import FLOAT, PTR, Function, Value, Variable, vector
from secateur.kernels.memory import CACHE_LINE_BYTES
from secateur.kernels.record import Record
from secateur.kernels.target import Target

if TYPE_CHECKING:
    from jaxtyping import Float, Float32

WALK = Record("outer", "a_outer", "b_outer", "middle", "a_middle", "b_middle", "inner")
"""The walk in memory: counts, and steps in bytes."""
UNROLL = 2
"""Steps that are written out in a loop; between them a row of a and a row of b each are asked for ahead."""
Sums = dict[tuple[int, int], Variable]
"""(row, column) -> its accumulator."""
Store = Callable[[int, int, Value], None]


@dataclass(frozen=True)
class Tile:
    """How many rows and vectors, and how a is read.

    a_row   bytes between its rows: a constant of the code, so that every address is one register and a constant (with
            steps only known at run time LLVM runs out of registers)
    """

    target: Target
    rows: int
    columns: int
    a_row: int

    @property
    def b_row(self) -> int:
        """Bytes of a row of b."""
        return self.columns * self.target.vector_bytes


def emit_tile(f: Function, tile: Tile, store: Store) -> None:
    """Emit the product into `f`, which has arguments a, b and walk (address of the WALK)."""
    sums = _zeros(f, tile)
    walk = WALK.read(f, f["walk"])
    a, b = f.variable(PTR, f["a"]), f.variable(PTR, f["b"])
    with f.loop(0, walk["outer"]):
        a_outer, b_outer = a.get(), b.get()
        with f.loop(0, walk["middle"]):
            a_middle, b_middle = a.get(), b.get()
            _emit_inner(f, tile, (a_middle, b_middle, walk["inner"]), sums)
            a.set(a_middle + walk["a_middle"])
            b.set(b_middle + walk["b_middle"])
        a.set(a_outer + walk["a_outer"])
        b.set(b_outer + walk["b_outer"])
    for (row, column), total in sums.items():
        store(row, column, total.get())


def emit_block_tile(f: Function, tile: Tile, store: Store) -> None:
    """Emit the product over whole blocks of `lanes` steps into `f`, which has arguments a, b, blocks and block_bytes:
    how many, and the distance of blocks of a; those of b follow one another.

    Fetched ahead are the rows of the next block of a, and of b as much as is read, behind its last block: the next
    part of a panel, which may come from memory. Everything stays in registers: with the vectors that are stored at the
    end, a few numbers kept on the stack fill a core's queue of stores, and it waits for some fifty cycles.
    """
    sums, lanes = _zeros(f, tile), tile.target.lanes
    a, b = f.variable(PTR, f["a"]), f.variable(PTR, f["b"])
    ahead = f["blocks"] * (lanes * tile.b_row)
    with f.loop(0, f["blocks"]):
        here, following = a.get(), a.get() + f["block_bytes"]
        with f.loop(0, lanes, UNROLL) as k:
            right = b.get()
            for line in range(UNROLL):
                f.prefetch(following + k * tile.a_row + line * tile.a_row, 1)
            for line in range(0, UNROLL * tile.b_row, CACHE_LINE_BYTES):
                f.prefetch(right + ahead + line, 2)
            for step in range(UNROLL):
                _emit_step(f, tile, (here + k * 4 + 4 * step, right + step * tile.b_row), sums)
            b.set(right + UNROLL * tile.b_row)
        a.set(following)
    for (row, column), total in sums.items():
        store(row, column, total.get())


def _zeros(f: Function, tile: Tile) -> Sums:
    kind, zero = vector(tile.target.lanes), f.splat(0.0, tile.target.lanes)
    return {place: f.variable(kind, zero) for place in product(range(tile.rows), range(tile.columns))}


def _emit_inner(f: Function, tile: Tile, walk: tuple[Value, Value, Value], sums: Sums) -> None:
    """The inner loop over a, b and a number of steps, UNROLL at a time and then one by one."""
    left, right = f.variable(PTR, walk[0]), f.variable(PTR, walk[1])
    count = walk[2]
    for unroll, start, stop in ((UNROLL, f.constant(0), count - (UNROLL - 1)), (1, count & -UNROLL, count)):
        with f.loop(start, stop, unroll):
            a, b = left.get(), right.get()
            for k in range(unroll):
                _emit_step(f, tile, (a + 4 * k, b + k * tile.b_row), sums)
            left.set(a + 4 * unroll)
            right.set(b + unroll * tile.b_row)


def _emit_step(f: Function, tile: Tile, at: tuple[Value, Value], sums: Sums) -> None:
    """One step of the inner loop: a column of a times a row of b."""
    a, b = at
    target = tile.target
    right = [f.load(vector(target.lanes), b + column * target.vector_bytes) for column in range(tile.columns)]
    for row in range(tile.rows):
        left = f.splat(f.load(FLOAT, a + row * tile.a_row), target.lanes)
        for column in range(tile.columns):
            place = sums[row, column]
            place.set(f.pin(f.fma(left, right[column], place.get()), target.register))


def tile_product(
    a: Float32[np.ndarray, "rows depth"], b: Float32[np.ndarray, "depth columns"]
) -> Float[np.ndarray, "rows columns"]:
    """What a register tile computes, in float64: the twin its code is tested against."""
    return a.astype(np.float64) @ b.astype(np.float64)
