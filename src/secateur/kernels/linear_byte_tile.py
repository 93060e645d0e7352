"""Tiles of a linear layer on bytes: exact int32 sums of int8 activations times int8 or 4-bit weights, and dense ones.

Where every 128 columns have scales, their exact sums are multiplied by them and added up in float32.

Some slots of records are decoded at once, as many as there are registers for beside the sums: a token's activations are
then read once for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import NamedTuple

from secateur.ir.balanced_format import CODES, RECORD_BYTES, SLOT_COLUMNS
from secateur.kernels.code import Function, Module, Value, vector
from secateur.kernels.lanes import lanes_of
from secateur.kernels.linear_bytes import ByteLookup
from secateur.kernels.linear_form import DENSE, STEP_COLUMNS
from secateur.kernels.linear_lanes import as_type, numbers, shifted_down
from secateur.kernels.linear_tile import ENTRIES, LinearTile, Sums, Walk, ask_ahead, emit_blocks
from secateur.kernels.target import Target

SLOT_BYTES = 64
FREE_REGISTERS = 26
"""Of AVX-512, for sums and two a decoded slot; the rest hold constants and what is looked up."""
CODE_BITS = 4


class Decoded(NamedTuple):
    """A vector of a slot, ready for any token. columns: the slot of columns it looks up in; groups: of its entries."""

    columns: int
    groups: tuple[int, ...]
    places: tuple[Value, ...]
    weights: Value
    part: int
    slot: int


def emit_byte_tile(module: Module, tile: LinearTile, table: tuple[int, ...]) -> None:
    """tile_<tokens>(...) for int8, codes (with their table) and dense matrices."""
    f = module.function(f"tile_{tile.tokens}", tile.arguments, inner=True)
    sums = Sums(f, tile, ByteLookup(tile.target).sums)
    tables = _table(f, tile, table) if tile.form.kind == "codes" and not raised(tile.target, table) else None

    def unit(walk: Walk) -> None:
        if tile.form.kind == DENSE:
            _emit_dense(tile, walk, sums)
            return
        vectors = list(product(range(2 * tile.form.records), range(tile.parts)))
        step = _decoded_at_once(tile)
        for first in range(0, len(vectors), step):
            decoded = [_decoded(tile, walk, slot, part, tables) for slot, part in vectors[first : first + step]]
            _emit_products(tile, walk.x, decoded, sums)

    finish = lowered if tile.form.kind == "codes" and tables is None else lambda total: total

    if tile.form.scaled:
        _emit_scaled(f, tile, unit, sums, finish)
    else:
        emit_blocks(f, tile, sums, unit, finish)
    f.give()


def raised(target: Target, table: tuple[int, ...]) -> bool:
    """Whether codes stand for themselves less 8, and are multiplied by as 16 times that: a code is the high four bits
    of its byte, so this takes one instruction that every port has. Sums are then a whole number times 16."""
    return target.name == "avx512" and table == tuple(CODES.tolist())


def lowered(total: Value) -> Value:
    """Sums over 16, exactly."""
    f, lanes = total.code, lanes_of(total)
    if total.type == vector(lanes):
        return total * f.splat(2.0**-CODE_BITS, lanes)
    return f.arithmetic("ashr", total, numbers(f, "i32", [CODE_BITS] * lanes))


def _decoded_at_once(tile: LinearTile) -> int:
    """Vectors of slots: whole records on avx512."""
    if tile.target.name != "avx512":
        return 1
    sums = tile.tokens * (2 if tile.form.scaled else 1)
    return 2 * max(1, (FREE_REGISTERS - sums) // 4)


def _emit_scaled(
    f: Function, tile: LinearTile, unit: Callable[[Walk], None], sums: Sums, finish: Callable[[Value], Value]
) -> None:
    """Sums of a unit times its scales, in float32."""
    target, kind = tile.target, vector(tile.target.lanes)
    totals = Sums(f, tile, kind)

    def scaled_unit(walk: Walk) -> None:
        sums.clear()
        unit(walk)
        for token, part in tile.places:
            place = walk.scales + 2 * target.lanes * part
            half = f.load(vector(target.lanes, "half"), place, 2)
            scale = f.emit(kind, f"fpext {half.type} {half.text} to {kind}")
            exact = sums.total(token, part)
            value = f.emit(kind, f"sitofp {exact.type} {exact.text} to {kind}")
            totals.add(token, part, 0, lambda s, v=value, by=scale: f.fma(v, by, s))

    emit_blocks(f, tile, totals, scaled_unit, finish)


def _table(f: Function, tile: LinearTile, table: tuple[int, ...]) -> Value:
    """What `by_code` looks up in: the table as often as a vector holds it."""
    repeated = table * (tile.target.vector_bytes // len(table))
    return f.pin(numbers(f, "i8", repeated), tile.target.register)


def _decoded(tile: LinearTile, walk: Walk, number: int, part: int, table: Value | None) -> Decoded:
    """A vector of the slot of that number of a unit: its entries' places, and what they are multiplied by."""
    record, slot = divmod(number, 2)
    f, look = walk.w.code, ByteLookup(tile.target, spread=tile.spread)
    w = walk.w + record * RECORD_BYTES[tile.form.kind]
    if slot == part == 0:
        ask_ahead(tile, w, RECORD_BYTES[tile.form.kind])
    part_bytes = part * tile.target.vector_bytes
    offset = slot * SLOT_BYTES + part_bytes
    wanted = [(ENTRIES * number + j) // tile.form.count for j in range(ENTRIES)]
    groups = tuple(group % 4 for group in wanted)
    if tile.form.kind == "codes":
        both = f.load(look.kind, w + offset, 16)
        places = look.places(both, groups)
        weights = look.raised_codes(both) if table is None else look.by_code(table, both)
    else:
        pairs = f.load(look.kind, w + part_bytes, 16)
        nibbles = as_type(shifted_down(as_type(pairs, vector(tile.target.lanes, "i32")), 4 * slot), look.kind)
        places, weights = look.places(nibbles, groups), f.load(look.kind, w + (SLOT_BYTES + offset), 16)
    return Decoded(wanted[0] // 4, groups, places, weights, part, number)


def _emit_products(tile: LinearTile, x: Value, decoded: list[Decoded], sums: Sums) -> None:
    look = ByteLookup(tile.target, spread=tile.spread)
    for token in range(tile.tokens):
        read: dict[tuple[int, ...], Value] = {}
        for one in decoded:
            key = (one.columns, *one.groups) if look.spread else (one.columns,)
            if key not in read:
                read[key] = look.columns(x + tile.place(one.columns, token), one.groups)
            place, from_ = one, read[key]
            sums.add(
                token,
                one.part,
                one.slot,
                lambda s, o=place, c=from_: look.dot(s, look.take(c, o.places, o.groups), o.weights),
            )


def _emit_dense(tile: LinearTile, walk: Walk, sums: Sums) -> None:
    """64 columns, four at a time: one input of every token in all lanes."""
    w, x = walk.w, walk.x
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
