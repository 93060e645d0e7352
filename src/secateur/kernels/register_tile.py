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

import numpy as np
from jaxtyping import Float, Float32

from secateur.kernels.code import FLOAT, PTR, Function, Value, Variable, vector
from secateur.kernels.memory import CACHE_LINE_BYTES
from secateur.kernels.record import Record
from secateur.kernels.target import Target

WALK = Record("outer", "a_outer", "b_outer", "middle", "a_middle", "b_middle", "inner")
"""The walk in memory: counts, and steps in bytes."""
UNROLL = 2
AHEAD_ROWS = 2
"""Rows of a, a cache line each, asked for in advance every UNROLL steps; of b as much as these steps read."""
Sums = dict[tuple[int, int], Variable]
"""(row, column) -> its accumulator."""
Inner = tuple[Value, Value, Value, tuple[Variable, Variable | None]]
"""a, b, number of steps, what to fetch ahead of a and of b."""


@dataclass(frozen=True)
class Tile:
    """How many rows and vectors, and how a is read.

    a_row   bytes between its rows: a constant of the code, so that every address is one register and a constant (with
            steps only known at run time LLVM runs out of registers)
    even    whether inner counts are multiples of UNROLL
    """

    target: Target
    rows: int
    columns: int
    a_row: int
    even: bool = False


def emit_tile(f: Function, tile: Tile, store: Callable[[int, int, Value], None]) -> None:
    """Emit the product into `f`, which has arguments a, b and walk (address of the WALK).

    With an argument `ahead`, memory from there on and the rows of a that come next are fetched into the cache.
    """
    kind = vector(tile.target.lanes)
    zero = f.splat(0.0, tile.target.lanes)
    sums = {place: f.variable(kind, zero) for place in product(range(tile.rows), range(tile.columns))}
    walk = WALK.read(f, f["walk"])
    a, b = f.variable(PTR, f["a"]), f.variable(PTR, f["b"])
    ahead = f.variable(PTR, f["ahead"]) if "ahead" in f.parameters else None
    with f.loop(0, walk["outer"]):
        a_outer, b_outer = a.get(), b.get()
        with f.loop(0, walk["middle"]):
            a_middle, b_middle = a.get(), b.get()
            following = f.variable(PTR, a_middle + walk["a_middle"])
            _emit_inner(f, tile, (a_middle, b_middle, walk["inner"], (following, ahead)), sums)
            a.set(a_middle + walk["a_middle"])
            b.set(b_middle + walk["b_middle"])
        a.set(a_outer + walk["a_outer"])
        b.set(b_outer + walk["b_outer"])
    for (row, column), total in sums.items():
        store(row, column, total.get())


def _emit_inner(f: Function, tile: Tile, walk: Inner, sums: Sums) -> None:
    """The inner loop, UNROLL steps at a time and then one by one."""
    left, right = f.variable(PTR, walk[0]), f.variable(PTR, walk[1])
    count, (following, ahead) = walk[2:]
    loops = [(UNROLL, f.constant(0), count - (UNROLL - 1)), (1, count & -UNROLL, count)]
    for unroll, start, stop in loops[: 1 if tile.even else 2]:
        with f.loop(start, stop, unroll):
            a, b = left.get(), right.get()
            if ahead:
                _emit_prefetch(f, tile, following, ahead)
            for k in range(unroll):
                _emit_step(f, tile, (a + 4 * k, b + k * tile.columns * tile.target.vector_bytes), sums)
            left.set(a + 4 * unroll)
            right.set(b + unroll * tile.columns * tile.target.vector_bytes)


def _emit_prefetch(f: Function, tile: Tile, following: Variable, ahead: Variable) -> None:
    """Ask for cache lines: of the rows of a in the next turn of the middle loop, and of the next panel."""
    lines = UNROLL * tile.columns * tile.target.vector_bytes // CACHE_LINE_BYTES
    for variable, count, step, level in ((following, AHEAD_ROWS, tile.a_row, 1), (ahead, lines, CACHE_LINE_BYTES, 2)):
        address = variable.get()
        for line in range(count):
            f.prefetch(address + line * step, level)
        variable.set(address + count * step)


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
