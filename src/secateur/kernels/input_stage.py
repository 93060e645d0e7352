"""First stage of a fast convolution: tiles of the image, transformed, a vector of channels at a time.

Tiles inside the image are read where they lie. Tiles that reach over its edge, and the last channels where they do not
fill a vector, are gathered on the stack first, with zeros for what is not there: no padded copy of the image is made.
"""

from __future__ import annotations

from secateur.kernels.code import I64, PTR, Function, Module, Value, vector
from secateur.kernels.layout import LAYER
from secateur.kernels.target import Target
from secateur.kernels.transforms import Grid, emit_transform
from secateur.maths.bilinear import Bilinear


def emit_input_stage(module: Module, target: Target, algorithm: Bilinear) -> None:
    """input_stage(layer, source, v, tile, count, start, stop): items start..stop-1 of count tiles x channel blocks."""
    _emit_tile(module, target, algorithm)
    names = {"layer": PTR, "source": PTR, "v": PTR, "tile": I64, "count": I64, "start": I64, "stop": I64}
    f = module.function("input_stage", names)
    layer = LAYER.read(f, f["layer"])
    rows, columns = algorithm.inputs
    gathered, nothing = f.room(vector(target.lanes), rows * columns), f.room(vector(target.lanes))
    f.store(f.splat(0.0, target.lanes), nothing, align=64)
    with f.loop(f["start"], f["stop"]) as item:
        block, index = item // f["count"], item % f["count"]
        tile = f["tile"] + index
        image, within = tile // layer["image_tiles"], tile % layer["image_tiles"]
        y = within // layer["tile_columns"] * layer["step_rows"] - layer["pad_top"]
        x = within % layer["tile_columns"] * layer["step_columns"] - layer["pad_left"]
        corner = f["source"] + (image * layer["image_bytes"] + block * target.vector_bytes)
        corner = corner + (y * layer["row_bytes"] + x * layer["pixel_bytes"])
        sink = f["v"] + (block * layer["block_bytes"] + index * target.vector_bytes)
        left = layer["channels"] - block * target.lanes
        inside = f.both(
            y >= 0, x >= 0, y + rows <= layer["height"], x + columns <= layer["width"], left >= target.lanes
        )
        with f.when(inside):
            f.call("input_tile", [corner, layer["row_bytes"], layer["pixel_bytes"], sink, layer["v_point_bytes"]])
        with f.otherwise(inside):
            _emit_gather(f, target, algorithm, (corner, y, x, left, nothing), gathered)
            steps = [f.constant(columns * target.vector_bytes), f.constant(target.vector_bytes)]
            f.call("input_tile", [gathered, *steps, sink, layer["v_point_bytes"]])
    f.give()


def _emit_tile(module: Module, target: Target, algorithm: Bilinear) -> None:
    """input_tile(source, row_bytes, pixel_bytes, v, point_bytes): one tile, one vector of channels."""
    names = {"source": PTR, "row_bytes": I64, "pixel_bytes": I64, "v": PTR, "point_bytes": I64}
    f = module.function("input_tile", names, inner=True)

    def read(at: Grid) -> Value:
        address = f["source"] + f["row_bytes"] * at.row + f["pixel_bytes"] * at.column
        return f.load(vector(target.lanes), address)

    def write(at: Grid, value: Value) -> None:
        f.store(value, f["v"] + f["point_bytes"] * at.column, align=64)

    emit_transform(f, target, (algorithm.input_transform, algorithm.inputs[1], 0), read, write)
    f.give()


def _emit_gather(f: Function, target: Target, algorithm: Bilinear, at: tuple[Value, ...], gathered: Value) -> None:
    """Copy a tile into `gathered`, zeros for pixels outside the image and channels that are not there.

    A pixel outside is read from `nothing`, a vector of zeros: an address is chosen, and nothing branches.
    """
    corner, y, x, left, nothing = at
    rows, columns = algorithm.inputs
    layer = {name: LAYER.read(f, f["layer"])[name] for name in ("height", "width", "row_bytes", "pixel_bytes")}
    mask, kind = f.lanes_below(left, target.lanes), vector(target.lanes)
    with f.loop(0, rows) as i:
        inside = f.compare("ult", y + i, layer["height"])  # below 0 is far above, without a sign
        pixel, place = corner + i * layer["row_bytes"], gathered + i * (columns * target.vector_bytes)
        for j in range(columns):
            there = f.both(inside, f.compare("ult", x + j, layer["width"]))
            address = f.choose(there, pixel + j * layer["pixel_bytes"], nothing, PTR)
            f.store(f.load_masked(kind, address, mask), place + j * target.vector_bytes, align=64)
