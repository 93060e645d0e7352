"""A linear layer as one thread sees it: its share of the activations packed, then rows of weights, chunk after chunk.

Threads take chunks of rows as they come. A chunk is read for every tile of tokens in turn, from the cache that holds
it; of a tile of tokens so many columns at a time as the first-level cache holds. Threads change no sum.
"""

from __future__ import annotations

from secateur.ir.balanced_format import ROWS
from secateur.kernels.code import I64, Function, Module, Value
from secateur.kernels.driver import JOB
from secateur.kernels.layout import CALL
from secateur.kernels.products_stage import emit_choice
from secateur.kernels.record import Record
from secateur.kernels.target import Target
from secateur.kernels.waiting import emit_barrier

LINEAR = Record(
    *("tokens", "inputs", "outputs", "columns"),
    *("tiles", "long_tiles", "long_tokens", "short_tokens"),
    *("blocks", "block_rows", "chunk_blocks", "chunks", "units", "chunk_units"),
    *("block_bytes", "unit_bytes", "token_bytes", "unit_token_bytes", "step_token_bytes"),
    *("sums_offset", "sums_bytes", "weights", "bias", "slope"),
)
"""Sizes of the layer (columns: inputs filled up to whole units), how tokens are cut into tiles (long ones first), rows
into blocks and those into chunks; bytes of records of a block and a unit; bytes of a token's activations in all, in a
unit, and from one group to the next; where sums lie in the workspace; addresses; the slope as a float."""


def emit_driver(module: Module, target: Target, sizes: tuple[int, ...]) -> None:
    """linear(layer, call, member, members), with tiles for so many tokens."""
    f = module.function("linear", JOB)
    layer = LINEAR.read(f, f["layer"])
    passed = f.variable(I64, 0)
    _emit_input(f, layer)
    counter = CALL.place(f["call"], "arrived")
    emit_barrier(f, target, counter, f["members"], passed)
    chunk = f.variable(I64, 0)
    with f.repeat_until() as until:
        chunk.set(f.add_atomic(CALL.place(f["call"], "next_block"), 1))
        with f.when(chunk.get() < layer["chunks"]):
            start = chunk.get() * layer["chunk_blocks"]
            stop = f.least(start + layer["chunk_blocks"], layer["blocks"])
            _emit_chunk(f, layer, (start, stop), sizes)
        until(chunk.get() >= layer["chunks"])
    f.give()


def _tile(f: Function, layer: dict[str, Value], tile: Value) -> tuple[Value, Value]:
    """First token and number of tokens of a tile."""
    long = f.least(tile, layer["long_tiles"])
    first = long * layer["long_tokens"] + (tile - long) * layer["short_tokens"]
    return first, f.choose(tile < layer["long_tiles"], layer["long_tokens"], layer["short_tokens"])


def _emit_input(f: Function, layer: dict[str, Value]) -> None:
    """Tokens in turn, every member its own."""
    source, space = (CALL.read_pointer(f, f["call"], name) for name in ("source", "workspace"))
    with f.loop(0, layer["tiles"]) as tile:
        first, count = _tile(f, layer, tile)
        with f.loop(0, count) as number:
            token = first + number
            with f.when((token % f["members"]).equals(f["member"])):
                packed = space + first * layer["token_bytes"] + number * layer["step_token_bytes"]
                x = source + token * (layer["inputs"] * 4)
                step = count * layer["step_token_bytes"]
                f.call("input_token", [x, packed, step, layer["inputs"], layer["columns"]])


def _emit_chunk(f: Function, layer: dict[str, Value], blocks: tuple[Value, Value], sizes: tuple[int, ...]) -> None:
    """Some blocks of rows, for all tokens."""
    space = CALL.read_pointer(f, f["call"], "workspace")
    room = space + (layer["sums_offset"] + f["member"] * layer["sums_bytes"])
    with f.loop(0, layer["tiles"]) as tile:
        first, count = _tile(f, layer, tile)
        x = space + first * layer["token_bytes"]
        with f.loop(0, layer["units"], layer["chunk_units"]) as unit:
            units = f.least(layer["chunk_units"], layer["units"] - unit)
            last = unit + units >= layer["units"]
            with f.loop(blocks[0], blocks[1]) as block:
                sums = room + (block - blocks[0]) * (layer["block_rows"] * 4 * count)
                _emit_tile(f, layer, (x, sums, unit, units, block, count), sizes)
                with f.when(last):
                    _emit_output(f, layer, sums, block, (first, count))


def _emit_tile(f: Function, layer: dict[str, Value], at: tuple[Value, ...], sizes: tuple[int, ...]) -> None:
    x, sums, unit, units, block, count = at
    weights = LINEAR.read_pointer(f, f["layer"], "weights")
    w = weights + block * layer["block_bytes"] + unit * layer["unit_bytes"]
    fresh = f.choose(unit.equals(0), 1, 0)
    given = [w, x + unit * (count * layer["unit_token_bytes"]), sums, units, fresh]
    emit_choice(f, count, {size: (f"tile_{size}", given) for size in sizes})


def _emit_output(f: Function, layer: dict[str, Value], sums: Value, block: Value, tokens: tuple[Value, Value]) -> None:
    first, count = tokens
    target, residual = (CALL.read_pointer(f, f["call"], name) for name in ("target", "residual"))
    with f.loop(0, layer["block_rows"], ROWS) as part:
        row = block * layer["block_rows"] + part
        place = first * (layer["outputs"] * 4) + row * 4
        bias = LINEAR.read_pointer(f, f["layer"], "bias") + row * 4
        given = [sums + part * (count * 4), target + place, residual + place, bias, count]
        slope = LINEAR.read_float(f, f["layer"], "slope")
        with f.when(row < layer["outputs"]):
            f.call("output_tile", [*given, layer["outputs"] - row, layer["outputs"] * 4, slope])
