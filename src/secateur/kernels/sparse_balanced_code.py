"""The code of a convolution with a balanced weight: a linear layer over the pixels of a padded image, without copies.

The image is packed once, with its padding, channels innermost and filled up to whole units of columns: a copy in
float32, quantized in bytes. A token of a tile is then an output pixel, and a unit of columns one tap of the kernel with
some input channels: where it lies in the image differs by a constant a pixel and a number a unit. So tiles and look-ups
are those of linear layers (`linear_tile`, `linear_byte_tile`). Tiles at the lower and right edge overlap others instead
of being narrower: what they write twice is the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from secateur.ir.balanced_format import ROWS, SLOT_COLUMNS
from secateur.kernels.byte_maps import ByteMaps, bytes_of
from secateur.kernels.code import FLOAT, I64, PTR, Function, Module, Value, literal, vector
from secateur.kernels.driver import JOB
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.layout import CALL
from secateur.kernels.linear_byte_tile import emit_byte_tile
from secateur.kernels.linear_input import emit_float_input
from secateur.kernels.linear_lanes import called, numbers
from secateur.kernels.linear_output import Finish, emit_output
from secateur.kernels.linear_quantize import as_stored, store_bytes, store_slot
from secateur.kernels.linear_tile import SPAN_BYTES, TOKEN_BYTES, LinearTile, emit_float_tile
from secateur.kernels.record import Record
from secateur.kernels.waiting import emit_barrier

BALANCED = Record(
    *("rows", "image_rows", "height", "width", "top", "left", "right"),
    *("row_bytes", "pixel_bytes", "image_bytes", "in_channels", "columns"),
    *("tiles", "all_tiles", "tile_inputs", "tile_outputs", "out_image", "out_row", "out_channels"),
    *("chunks", "chunk_blocks", "blocks", "block_bytes", "units", "unit_inputs"),
    *("sums_offset", "sums_bytes", "weights", "scale", "less", "bias", "slope", "given", "inverse"),
    *("out_inverse", "residual_scale"),
)
"""Rows of all padded images and of one, and where the image lies in it; bytes of the packed image; tables of places: of
tiles in the image in bytes and in the output in numbers, of units from a pixel on in bytes; numbers of an image and a
row of the output; chunks of blocks of 16 output channels; where a thread's
sums lie; weights and numbers as of linear layers, and 1 over the static scales of input and output."""
FLAG = "_0"
"""A number of CALL that starts at 0: how many threads saw a number that is not finite."""
COPY = {"x": PTR, "packed": PTR, "inputs": I64, "columns": I64}
"""A pixel and where it goes, its channels and with those that fill units up."""
QUANTIZE = {"x": PTR, "packed": PTR, "inputs": I64, "columns": I64, "inverse": FLOAT, "seen": PTR}
"""A pixel and where it goes, its channels and with those that fill units up, 1 over the scale, and a vector that is no
number any more where a channel was not finite."""


@dataclass(frozen=True)
class PixelTile(LinearTile):
    """A tile of output pixels: bytes in the packed image from the first pixel to each."""

    pixels: tuple[int, ...]

    @property
    def arguments(self) -> dict[str, str]:
        """With the table of units."""
        return {**super().arguments, "places": PTR}

    def place(self, columns: int, token: int) -> int:
        """A pixel's channels lie side by side."""
        return columns * TOKEN_BYTES + self.pixels[token]

    def unit_inputs(self, f: Function, number: Value) -> Value:
        """By the table."""
        return f["x"] + f.load(I64, f["places"] + number * 8)


def span_blocks(tokens: int) -> int:
    """Blocks of output channels that a tile makes the sums of before they are used."""
    return max(1, SPAN_BYTES // (4 * ROWS * tokens))


@dataclass(frozen=True)
class ConvCode:
    """What the code of a layer follows from.

    rows    of a tile of pixels
    table   of codes
    direct  whether an image of bytes is read where it is: it has no padding, whole units, and the sign products want
    """

    tile: PixelTile
    rows: int
    epilogue: Epilogue
    table: tuple[int, ...]
    maps: ByteMaps
    direct: bool

    @property
    def made_from(self) -> str:
        """All of it in words."""
        parts = (self.tile.form, self.table, self.tile.pixels, self.rows, self.epilogue.code_name)
        return " ".join(map(str, (*parts, self.tile.target.features, self.maps.code_name, self.direct)))


def balanced_module(code: ConvCode) -> str:
    """balanced_convolution(layer, call, member, members)."""
    tile, module = code.tile, Module()
    byte = tile.form.input_bytes == 1
    if byte:
        _emit_copy(module, code) if code.maps.takes else _emit_quantize(module, tile)
        emit_byte_tile(module, tile, code.table)
    else:
        emit_float_input(module, tile.target)
        emit_float_tile(module, tile)
    emit_output(module, tile.target, Finish(code.epilogue, tile.form, code.maps))
    f = module.function("balanced_convolution", JOB)
    layer, passed = BALANCED.read(f, f["layer"]), f.variable(I64, 0)
    space = CALL.read_pointer(f, f["call"], "workspace")
    mine = space + (layer["sums_offset"] + f["member"] * layer["sums_bytes"])
    if not code.direct:
        _emit_image(f, code, layer, (space, mine))
        emit_barrier(f, tile.target, CALL.place(f["call"], "arrived"), f["members"], passed)
    images = CALL.read_pointer(f, f["call"], "source") if code.direct else space
    scales = mine + ROWS * 4 * tile.tokens * span_blocks(tile.tokens)
    if byte:
        _emit_scales(f, tile, scales)
    item = f.variable(I64, 0)
    with f.repeat_until() as until:
        item.set(f.add_atomic(CALL.place(f["call"], "next_block"), 1))
        with f.when(item.get() < layer["chunks"] * layer["all_tiles"]):
            _emit_item(f, code, layer, (images, mine, scales, item.get()))
        until(item.get() >= layer["chunks"] * layer["all_tiles"])
    f.give()
    return module.text()


def _emit_image(f: Function, code: ConvCode, layer: dict[str, Value], at: tuple[Value, Value]) -> None:
    """Every member's rows of the packed images."""
    (space, mine), tile = at, code.tile
    pixel = layer["in_channels"] * bytes_of(code.maps.takes)
    source, kind = CALL.read_pointer(f, f["call"], "source"), vector(tile.target.lanes)
    f.store(f.splat(0.0, tile.target.lanes), mine, 16)
    with f.loop(f["member"], layer["rows"], f["members"]) as row:
        image, y = row // layer["image_rows"], row % layer["image_rows"] - layer["top"]
        packed = f.variable(PTR, space + row * layer["row_bytes"])
        inside = f.both(y >= 0, y < layer["height"])
        with f.otherwise(inside):
            _emit_fill(f, code, packed.get(), layer["row_bytes"])
        with f.when(inside):
            edge = layer["left"] * layer["pixel_bytes"]
            _emit_fill(f, code, packed.get(), edge)
            packed.set(packed.get() + edge)
            line = source + (image * layer["height"] + y) * (layer["width"] * pixel)
            together = f.choose(layer["columns"].equals(layer["in_channels"]), layer["width"], 1)
            with f.loop(0, layer["width"], together) as x:
                _emit_pixels(f, code, layer, (line + x * pixel, packed.get(), mine, together))
                packed.set(packed.get() + layer["pixel_bytes"] * together)
            _emit_fill(f, code, packed.get(), layer["right"] * layer["pixel_bytes"])
    if tile.form.input_bytes == 1 and not code.maps.takes:
        seen = called(f, FLOAT, f"llvm.vector.reduce.fadd.v{tile.target.lanes}f32", "float 0.0", f.load(kind, mine, 16))
        with f.when(f.emit("i1", f"fcmp uno float {seen.text}, {seen.text}")):
            f.add_atomic(CALL.place(f["call"], FLAG), 1)


def _emit_pixels(f: Function, code: ConvCode, layer: dict[str, Value], at: tuple[Value, ...]) -> None:
    """One pixel, or a whole row where channels fill units, so that pixels lie side by side."""
    source, packed, mine, count = at
    sizes = [layer["in_channels"] * count, layer["columns"] * count]
    if code.tile.form.input_bytes == 4:
        f.call("input_token", [source, packed, f.constant(TOKEN_BYTES), *sizes])
    elif code.maps.takes:
        f.call("copy_codes", [source, packed, *sizes])
    else:
        f.call("quantize", [source, packed, *sizes, BALANCED.read_float(f, f["layer"], "inverse"), mine])


def _emit_copy(module: Module, code: ConvCode) -> None:
    """copy_codes(...): channels as what the target multiplies by."""
    f, target = module.function("copy_codes", COPY, inner=True), code.tile.target
    size, signed = target.vector_bytes, code.maps.signed_input
    whole = f["inputs"] // SLOT_COLUMNS * SLOT_COLUMNS
    with f.loop(0, whole, size) as first:
        codes = f.load(vector(size, "i8"), f["x"] + first, 1)
        f.store(as_stored(codes, target, signed=signed), f["packed"] + first, 16)
    with f.loop(whole, f["columns"], target.lanes) as first:
        mask = f.lanes_below(f["inputs"] - first, target.lanes)
        codes = f.load_masked(vector(target.lanes, "i8"), f["x"] + first, mask)
        f.store(as_stored(codes, target, signed=signed), f["packed"] + first, 1)
    f.give()


def _emit_quantize(module: Module, tile: PixelTile) -> None:
    """quantize(...): the channels of a pixel as bytes, as `linear_quantize.quantized` defines them."""
    f = module.function("quantize", QUANTIZE, inner=True)
    lanes, kind = tile.target.lanes, vector(tile.target.lanes)
    inverse, seen = f.splat(f["inverse"], lanes), f.variable(kind, f.load(kind, f["seen"], 16))
    whole = f["inputs"] // SLOT_COLUMNS * SLOT_COLUMNS
    with f.loop(0, whole, SLOT_COLUMNS) as first:
        values = [f.load(kind, f["x"] + (first * 4 + 4 * part)) for part in range(0, SLOT_COLUMNS, lanes)]
        for x in values:
            seen.set(seen.get() + (x - x))
        store_slot(f, tile.target, [x * inverse for x in values], f["packed"] + first)
    with f.loop(whole, f["columns"], lanes) as first:
        x = f.load_masked(kind, f["x"] + first * 4, f.lanes_below(f["inputs"] - first, lanes))
        seen.set(seen.get() + (x - x))
        store_bytes(f, tile.target, x * inverse, f["packed"] + first)
    f.store(seen.get(), f["seen"], 16)
    f.give()


def _emit_fill(f: Function, code: ConvCode, start: Value, size: Value) -> None:
    """Zeros of the padding, as activations are; whole cache lines."""
    tile = code.tile
    count, nothing = tile.target.vector_bytes, numbers(f, "i8", [0] * tile.target.vector_bytes)
    if tile.form.input_bytes == 1:
        nothing = as_stored(nothing, tile.target, signed=code.maps.signed_input)
    with f.loop(0, size, count) as offset:
        f.store(nothing, start + offset, 16)


def _emit_scales(f: Function, tile: PixelTile, scales: Value) -> None:
    """The static scale for every pixel; NaN where a number of the input is not finite, so that this is seen."""
    given = BALANCED.read_float(f, f["layer"], "given")
    finite = f.load_atomic(CALL.place(f["call"], FLAG)).equals(0)
    scale = f.choose(finite, given, Value(f, FLOAT, literal(float("nan"))), FLOAT)
    for token in range(tile.tokens):
        f.store(scale, scales + 4 * token)


def _emit_item(f: Function, code: ConvCode, layer: dict[str, Value], at: tuple[Value, ...]) -> None:
    """One tile, and the output channels of one chunk."""
    tile, rows = code.tile, code.rows
    space, sums, scales, item = at
    chunk, number = item // layer["all_tiles"], item % layer["all_tiles"]
    image, number = number // layer["tiles"], number % layer["tiles"]
    pointer = {name: BALANCED.read_pointer(f, f["layer"], name) for name in ("tile_inputs", "tile_outputs")}
    pointer |= {name: BALANCED.read_pointer(f, f["layer"], name) for name in ("weights", "unit_inputs")}
    x = space + (image * layer["image_bytes"] + f.load(I64, pointer["tile_inputs"] + number * 8))
    place = image * layer["out_image"] + f.load(I64, pointer["tile_outputs"] + number * 8)
    first = chunk * layer["chunk_blocks"]
    last = f.least(first + layer["chunk_blocks"], layer["blocks"])
    with f.loop(first, last, span_blocks(tile.tokens)) as block:
        w, blocks = pointer["weights"] + block * layer["block_bytes"], f.least(last - block, span_blocks(tile.tokens))
        f.call(f"tile_{tile.tokens}", [w, x, sums, layer["units"], scales, blocks, pointer["unit_inputs"]])
        for row in range(rows):
            at = sums + row * (tile.tokens // rows) * ROWS * 4, scales, place, block, blocks
            _emit_output(f, layer, at, (code, row))


def _emit_output(f: Function, layer: dict[str, Value], at: tuple[Value, ...], what: tuple[ConvCode, int]) -> None:
    sums, scales, place, block, blocks = at
    (code, row), maps = what, what[0].maps
    tile = code.tile
    target, residual = (CALL.read_pointer(f, f["call"], name) for name in ("target", "residual"))
    place = place + layer["out_row"] * row + block * ROWS
    by_channel = [BALANCED.read_pointer(f, f["layer"], name) + block * (4 * ROWS) for name in ("scale", "less", "bias")]
    wide = f.constant(tile.tokens // code.rows)
    left, step = layer["out_channels"] - block * ROWS, layer["out_channels"]
    y, other = target + place * bytes_of(maps.gives), residual + place * bytes_of(maps.adds)
    given = [sums, y, other, *by_channel, scales, wide, left, step, blocks, f.constant(4 * ROWS * tile.tokens)]
    floats = [BALANCED.read_float(f, f["layer"], name) for name in ("slope", "out_inverse", "residual_scale")]
    f.call("output_tile", [*given, *floats])
