"""A linear layer as one thread sees it: its share of the activations packed, then rows of weights, chunk after chunk.

Threads take chunks of rows as they come. A chunk is read for every tile of tokens in turn, from the cache that holds
it. Threads change no sum.
"""

from __future__ import annotations

from secateur.ir.balanced_format import ROWS
from secateur.kernels.byte_maps import ByteMaps, bytes_of
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
    *("blocks", "block_rows", "chunk_blocks", "chunks", "units"),
    *("block_bytes", "token_bytes", "step_token_bytes"),
    *("scales_offset", "sums_offset", "sums_bytes", "span_blocks"),
    *("weights", "scale", "less", "bias", "slope", "given", "group_scales"),
    *("scale_block_bytes", "inverse", "residual_scale"),
)
"""Sizes of the layer (columns: inputs filled up to whole units), how tokens are cut into tiles (long ones first), rows
into blocks and those into chunks; bytes of records of a block; of a token's activations in all, and from one group or
slot to the next; where scales and sums lie in the workspace, and of how many blocks these are; addresses; slope and
static scale of activations as floats; bytes of a block's scales of groups of columns; of maps of bytes 1 over the
scale of what is given, and the scale of the residual."""


def emit_driver(module: Module, target: Target, sizes: tuple[int, ...], *, byte: bool, maps: ByteMaps) -> None:
    """linear(layer, call, member, members), with tiles for so many tokens, of bytes or float32."""
    f = module.function("linear", JOB)
    layer = LINEAR.read(f, f["layer"])
    passed = f.variable(I64, 0)
    _emit_input(f, layer, bytes_of(maps.takes), byte=byte)
    counter = CALL.place(f["call"], "arrived")
    emit_barrier(f, target, counter, f["members"], passed)
    chunk = f.variable(I64, 0)
    with f.repeat_until() as until:
        chunk.set(f.add_atomic(CALL.place(f["call"], "next_block"), 1))
        with f.when(chunk.get() < layer["chunks"]):
            start = chunk.get() * layer["chunk_blocks"]
            stop = f.least(start + layer["chunk_blocks"], layer["blocks"])
            _emit_chunk(f, layer, (start, stop), sizes, maps)
        until(chunk.get() >= layer["chunks"])
    f.give()


def _tile(f: Function, layer: dict[str, Value], tile: Value) -> tuple[Value, Value]:
    """First token and number of tokens of a tile."""
    long = f.least(tile, layer["long_tiles"])
    first = long * layer["long_tokens"] + (tile - long) * layer["short_tokens"]
    return first, f.choose(tile < layer["long_tiles"], layer["long_tokens"], layer["short_tokens"])


def _emit_input(f: Function, layer: dict[str, Value], input_bytes: int, *, byte: bool) -> None:
    """Tokens in turn, every member its own."""
    source, space = (CALL.read_pointer(f, f["call"], name) for name in ("source", "workspace"))
    with f.loop(0, layer["tiles"]) as tile:
        first, count = _tile(f, layer, tile)
        with f.loop(0, count) as number:
            token = first + number
            with f.when((token % f["members"]).equals(f["member"])):
                packed = space + first * layer["token_bytes"] + number * layer["step_token_bytes"]
                x = source + token * (layer["inputs"] * input_bytes)
                step = count * layer["step_token_bytes"]
                given = [x, packed, step, layer["inputs"], layer["columns"]]
                if byte:
                    given.append(space + (layer["scales_offset"] + token * 4))
                    given.append(LINEAR.read_float(f, f["layer"], "given"))
                f.call("input_token", given)


def _emit_chunk(
    f: Function, layer: dict[str, Value], blocks: tuple[Value, Value], sizes: tuple[int, ...], maps: ByteMaps
) -> None:
    """Some blocks of rows, for all tokens."""
    space = CALL.read_pointer(f, f["call"], "workspace")
    sums = space + (layer["sums_offset"] + f["member"] * layer["sums_bytes"])
    with f.loop(0, layer["tiles"]) as tile:
        first, count = _tile(f, layer, tile)
        x = space + first * layer["token_bytes"]
        with f.loop(blocks[0], blocks[1], layer["span_blocks"]) as block:
            some = block, f.least(layer["span_blocks"], blocks[1] - block)
            _emit_tile(f, layer, (x, sums, count), some, sizes)
            _emit_output(f, layer, (sums, some, (first, count)), maps)


Some = tuple[Value, Value]
"""The first block or token, and how many."""


def _emit_tile(f: Function, layer: dict[str, Value], at: tuple[Value, ...], some: Some, sizes: tuple[int, ...]) -> None:
    (x, sums, count), (block, blocks) = at, some
    weights = LINEAR.read_pointer(f, f["layer"], "weights")
    w = weights + block * layer["block_bytes"]
    scales = LINEAR.read_pointer(f, f["layer"], "group_scales")
    given = [w, x, sums, layer["units"], scales + block * layer["scale_block_bytes"], blocks]
    emit_choice(f, count, {size: (f"tile_{size}", given) for size in sizes})


def _emit_output(f: Function, layer: dict[str, Value], at: tuple[Value, Some, Some], maps: ByteMaps) -> None:
    sums, (block, blocks), (first, count) = at
    target, residual, space = (CALL.read_pointer(f, f["call"], name) for name in ("target", "residual", "workspace"))
    row = block * layer["block_rows"]
    place = first * layer["outputs"] + row
    by_row = [LINEAR.read_pointer(f, f["layer"], name) + row * 4 for name in ("scale", "less", "bias")]
    scales = space + (layer["scales_offset"] + first * 4)
    left = layer["outputs"] - row
    parts = f.least(blocks * layer["block_rows"], left + (ROWS - 1)) // ROWS
    y, other = target + place * bytes_of(maps.gives), residual + place * bytes_of(maps.adds)
    given = [sums, y, other, *by_row, scales, count, left, layer["outputs"], parts, count * (4 * ROWS)]
    floats = [LINEAR.read_float(f, f["layer"], name) for name in ("slope", "inverse", "residual_scale")]
    f.call("output_tile", [*given, *floats])
