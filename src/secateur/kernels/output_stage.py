"""Third stage of a fast convolution: products transformed back, bias, residual, activation, stored where they belong.

Tiles that reach over the edge of the output, and the last channels where they do not fill a vector, go through the
stack and are written element by element: nothing outside the output is ever written.
"""

from __future__ import annotations

from itertools import product

from secateur.kernels.code import I64, PTR, Function, Module, Value, vector
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.layout import LAYER
from secateur.kernels.target import Target
from secateur.kernels.transforms import Grid, Write, emit_transform
from secateur.maths.bilinear import Bilinear

TILE = {"m": PTR, "point_bytes": I64, "target": PTR, "row_bytes": I64, "pixel_bytes": I64}

_Extent = tuple[Value, Value, Value]
_Edge = tuple[Value, int, _Extent, tuple[Value, Value], list[Value], list[Value]]


def emit_output_stage(module: Module, target: Target, algorithm: Bilinear, epilogue: Epilogue) -> None:
    """output_stage(layer, target, residual, m, tile, count, first, start, stop): items start..stop-1 of count tiles x
    blocks of output channels, of which `first` is the first block in m."""
    _emit_finished_tile(module, target, algorithm, epilogue)
    _emit_raw_tile(module, target, algorithm)
    numbers = dict.fromkeys(("tile", "count", "first", "start", "stop"), I64)
    f = module.function("output_stage", {"layer": PTR, "target": PTR, "residual": PTR, "m": PTR, **numbers})
    layer = LAYER.read(f, f["layer"])
    bias, slope = LAYER.read_pointer(f, f["layer"], "bias"), LAYER.read_float(f, f["layer"], "slope")
    rows, columns = algorithm.outputs
    raw = f.room(vector(target.lanes), rows * columns)
    with f.loop(f["start"], f["stop"]) as item:
        block, index = item // f["count"], item % f["count"]
        tile, channel = f["tile"] + index, (block + f["first"]) * target.lanes
        image, within = tile // layer["image_tiles"], tile % layer["image_tiles"]
        y, x = within // layer["tile_columns"] * rows, within % layer["tile_columns"] * columns
        offset = image * layer["out_image_bytes"] + channel * 4
        offset = offset + (y * layer["out_row_bytes"] + x * layer["out_pixel_bytes"])
        m = f["m"] + (block * layer["block_bytes"] + index * target.vector_bytes)
        height, width = layer["out_height"] - y, layer["out_width"] - x
        left = layer["out_channels"] - channel
        whole = f.both(height >= rows, width >= columns, left >= target.lanes)
        steps = [layer["out_row_bytes"], layer["out_pixel_bytes"]]
        sinks = [f["target"] + offset, f["residual"] + offset]
        with f.when(whole):
            shift = f.load(vector(target.lanes), bias + channel * 4)
            f.call("output_tile", [m, layer["m_point_bytes"], sinks[0], *steps, sinks[1], shift, slope])
        with f.otherwise(whole):
            inner = [f.constant(columns * target.vector_bytes), f.constant(target.vector_bytes)]
            f.call("output_raw_tile", [m, layer["m_point_bytes"], raw, *inner])
            shift = f.load(vector(target.lanes), bias + channel * 4)
            extent = (f.least(height, rows), f.least(width, columns), f.lanes_below(left, target.lanes))
            _emit_edge(f, target, epilogue, (raw, columns, extent, (shift, slope), sinks, steps))
    f.give()


def _emit_finished_tile(module: Module, target: Target, algorithm: Bilinear, epilogue: Epilogue) -> None:
    """output_tile(..., residual, bias, slope): a whole tile, one vector of channels, through the epilogue."""
    kind = vector(target.lanes)
    f = module.function("output_tile", {**TILE, "residual": PTR, "bias": kind, "slope": "float"}, inner=True)

    def write(at: Grid, value: Value) -> None:
        offset = f["row_bytes"] * at.row + f["pixel_bytes"] * at.column
        added = (f["bias"], f.load(kind, f["residual"] + offset)) if epilogue.residual else (f["bias"],)
        f.store(epilogue.emit(f, value, added, f["slope"]), f["target"] + offset)

    for row, column in product(*map(range, algorithm.outputs)):
        offset = f["row_bytes"] * row + f["pixel_bytes"] * column
        if epilogue.residual:
            f.prefetch(f["residual"] + offset, 1)
        f.prefetch(f["target"] + offset, 1, write=True)
    _emit_tile(f, target, algorithm, write)


def _emit_raw_tile(module: Module, target: Target, algorithm: Bilinear) -> None:
    """output_raw_tile(...): a whole tile, one vector of channels, as it is."""
    f = module.function("output_raw_tile", TILE, inner=True)

    def write(at: Grid, value: Value) -> None:
        f.store(value, f["target"] + (f["row_bytes"] * at.row + f["pixel_bytes"] * at.column))

    _emit_tile(f, target, algorithm, write)


def _emit_tile(f: Function, target: Target, algorithm: Bilinear, write: Write) -> None:
    def read(at: Grid) -> Value:
        return f.load(vector(target.lanes), f["m"] + f["point_bytes"] * at.column, align=64)

    emit_transform(f, target, (algorithm.output_transform, 0, algorithm.outputs[1]), read, write)
    f.give()


def _emit_edge(f: Function, target: Target, epilogue: Epilogue, given: _Edge) -> None:
    """The part of a tile that lies in the output, from `raw` through the epilogue."""
    raw, columns, (height, width, mask), (shift, slope), sinks, steps = given
    kind = vector(target.lanes)
    with f.loop(0, height) as i, f.loop(0, width) as j:
        value = f.load(kind, raw + (i * columns + j) * target.vector_bytes, align=64)
        offset = i * steps[0] + j * steps[1]
        added = (shift, f.load_masked(kind, sinks[1] + offset, mask)) if epilogue.residual else (shift,)
        f.store_masked(epilogue.emit(f, value, added, slope), sinks[0] + offset, mask)
