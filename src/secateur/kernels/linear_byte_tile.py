"""Tiles of a linear layer on bytes: exact int32 sums of int8 activations times int8 or 4-bit weights, and dense ones.

Where every 128 columns have scales, their exact sums are multiplied by them and added up in float32.
"""

from __future__ import annotations

from itertools import product

from secateur.ir.balanced_format import RECORD_BYTES, ROWS, SLOT_COLUMNS
from secateur.kernels.code import Function, Module, Value, vector
from secateur.kernels.linear_bytes import ByteLookup
from secateur.kernels.linear_form import DENSE, STEP_COLUMNS
from secateur.kernels.linear_lanes import as_type, numbers, shifted_down
from secateur.kernels.linear_tile import LinearTile, Sums, Walk, ask_ahead, emit_walk

SLOT_BYTES = 64


def emit_byte_tile(module: Module, tile: LinearTile, table: tuple[int, ...]) -> None:
    """tile_<tokens>(...) for int8, codes (with their table) and dense matrices."""
    f = module.function(f"tile_{tile.tokens}", tile.arguments, inner=True)
    sums = Sums(f, tile, ByteLookup(tile.target).sums)
    numbers_ = _table(f, tile, table) if tile.form.kind == "codes" else None

    def unit(walk: Walk, _number: Value) -> None:
        if tile.form.kind == DENSE:
            _emit_dense(tile, walk, sums)
            return
        for record in range(tile.form.records):
            _emit_record(tile, walk, (record, numbers_), sums)

    if tile.form.scaled:
        _emit_scaled(f, tile, unit, sums)
    else:
        emit_walk(f, tile, unit)
        sums.store()
    f.give()


def _emit_scaled(f: Function, tile: LinearTile, unit, sums: Sums) -> None:
    """Sums of a unit times its scales, in float32."""
    target, kind = tile.target, vector(tile.target.lanes)
    totals = Sums(f, tile, kind)

    def scaled_unit(walk: Walk, number: Value) -> None:
        sums.clear()
        unit(walk, number)
        for token, part in tile.places:
            place = f["scales"] + (number * (2 * ROWS) + 2 * part * target.lanes)
            half = f.load(vector(target.lanes, "half"), place, 2)
            scale = f.emit(kind, f"fpext {half.type} {half.text} to {kind}")
            exact = sums.total(token, part)
            value = f.emit(kind, f"sitofp {exact.type} {exact.text} to {kind}")
            totals.add(token, part, 0, lambda s, v=value, by=scale: f.fma(v, by, s))

    emit_walk(f, tile, scaled_unit)
    totals.store()


def _table(f: Function, tile: LinearTile, table: tuple[int, ...]) -> Value:
    """What `by_code` looks up in: the table as often as a vector holds it."""
    repeated = table * (tile.target.vector_bytes // len(table))
    return f.pin(numbers(f, "i8", repeated), tile.target.register)


def _emit_record(tile: LinearTile, walk: Walk, what: tuple[int, Value | None], sums: Sums) -> None:
    """The two slots of a record, 8 non-zeros of every row."""
    record, table = what
    w, x = walk[0] + record * RECORD_BYTES[tile.form.kind], walk[1]
    f, look, size = w.code, ByteLookup(tile.target), tile.target.vector_bytes
    ask_ahead(tile, w, RECORD_BYTES[tile.form.kind])
    for slot, part in product(range(2), range(tile.parts)):
        offset = slot * SLOT_BYTES + part * size
        if table is None:
            nibbles = _nibbles(f.load(look.kind, w + part * size, 16), tile, high=slot == 1)
            weights = f.load(look.kind, w + (SLOT_BYTES + offset), 16)
        else:
            both = f.load(look.kind, w + offset, 16)
            nibbles, weights = _nibbles(both, tile, high=True), look.by_code(table, both)
        first = 4 * (2 * record + slot)
        wanted = [(first + j) // tile.form.count for j in range(4)]
        columns, groups = wanted[0] // 4, tuple(group % 4 for group in wanted)
        places = look.places(nibbles, groups)
        for token in range(tile.tokens):
            at = x + tile.place(columns, token)
            sums.add(
                token, part, slot, lambda s, a=at, p=places, g=groups, v=weights: look.dot(s, look.take(a, p, g), v)
            )


def _nibbles(both: Value, tile: LinearTile, *, high: bool) -> Value:
    """The low or high four bits of every byte."""
    f, lanes, count = both.code, tile.target.lanes, tile.target.vector_bytes
    if high:
        both = as_type(shifted_down(as_type(both, vector(lanes, "i32")), 4), both.type)
    return f.arithmetic("and", both, numbers(f, "i8", [15] * count))


def _emit_dense(tile: LinearTile, walk: Walk, sums: Sums) -> None:
    """64 columns, four at a time: one input of every token in all lanes."""
    w, x = walk
    f, look, lanes = w.code, ByteLookup(tile.target), tile.target.lanes
    step_bytes = STEP_COLUMNS * tile.form.block_rows(tile.target)
    for step in range(SLOT_COLUMNS // STEP_COLUMNS):
        ask_ahead(tile, w + step * step_bytes, step_bytes)
        at = [w + (step * step_bytes + part * tile.target.vector_bytes) for part in range(tile.parts)]
        weights = [f.load(look.kind, place, 16) for place in at]
        for token in range(tile.tokens):
            four = f.load("i32", x + (tile.place(0, token) + STEP_COLUMNS * step))
            everywhere = as_type(_splat(four, lanes), look.kind)
            for part in range(tile.parts):
                sums.add(token, part, step, lambda s, i=everywhere, v=weights[part]: look.dot(s, i, v))


def _splat(x: Value, lanes: int) -> Value:
    f, kind = x.code, vector(lanes, "i32")
    one = f.emit(kind, f"insertelement {kind} poison, i32 {x.text}, i64 0")
    return f.emit(kind, f"shufflevector {kind} {one.text}, {kind} poison, {kind} zeroinitializer")
