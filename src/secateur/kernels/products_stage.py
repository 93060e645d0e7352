"""Second stage of a fast convolution: a matrix product per point, tiles x channels times channels x output channels."""

from __future__ import annotations

from secateur.kernels.code import I64, PTR, Function, Module, Value
from secateur.kernels.layout import LAYER
from secateur.kernels.register_tile import WALK, Tile, emit_tile
from secateur.kernels.target import Target

SUMMED, SUMMED_LARGE, LARGE_TILE = 64, 32, 100
"""Channels, about, whose products are summed in registers at a time, and as many for tiles of more than LARGE_TILE
products, which magnify rounding errors: two thirds of an error with 64 channels, for up to 5 % more time."""


def summed_channels(products: int) -> int:
    """For an algorithm of so many products."""
    return SUMMED_LARGE if products > LARGE_TILE else SUMMED


def emit_products_stage(module: Module, target: Target) -> None:
    """products_stage(layer, v, m, count, first, panels, start, stop): items start..stop-1 of points x `panels` panels
    from `first` on, for the `count` tiles of a block."""
    for columns in range(1, target.columns + 1):
        for rows in range(1, target.rows + 1):
            _emit_register_tile(module, Tile(target, rows, columns, target.vector_bytes, even=True))
        _emit_rows(module, target, columns)
    numbers = dict.fromkeys(("count", "first", "panels", "start", "stop"), I64)
    f = module.function("products_stage", {"layer": PTR, "v": PTR, "m": PTR, **numbers})
    layer = LAYER.read(f, f["layer"])
    weights = LAYER.read_pointer(f, f["layer"], "weights")
    with f.loop(f["start"], f["stop"]) as item:
        point, panel = item // f["panels"], item % f["panels"]
        a = f["v"] + point * layer["v_point_bytes"]
        b = weights + (point * layer["weight_point_bytes"] + (f["first"] + panel) * layer["weight_panel_bytes"])
        c = f["m"] + (point * layer["m_point_bytes"] + panel * target.columns * layer["m_block_bytes"])
        left = layer["out_blocks"] - (f["first"] + panel) * target.columns
        for columns in range(1, target.columns + 1):
            fits = left >= columns if columns == target.columns else left.equals(columns)
            with f.when(fits):
                f.call(f"rows_{columns}", [f["layer"], a, b, c, f["count"]])
    f.give()


def _emit_rows(module: Module, target: Target, columns: int) -> None:
    """rows_<columns>(layer, a, b, c, count): all tiles against one panel, split into register tiles of equal height.

    Channels are summed in `parts`, and these sums added: so rounding errors grow less, and a part of the panel
    stays in the first-level cache for all tiles. Every piece fetches the part of the panel that comes next: layers
    with few tiles have one piece, and wait for weights that come from memory.
    """
    f = module.function(f"rows_{columns}", {"layer": PTR, "a": PTR, "b": PTR, "c": PTR, "count": I64}, inner=True)
    layer = LAYER.read(f, f["layer"])
    walk = f.room(I64, len(WALK.names))
    block_bytes = columns * target.lanes * target.vector_bytes
    WALK.write(f, walk, outer=1, a_outer=0, b_outer=0, a_middle=layer["v_block_bytes"], b_middle=block_bytes)
    WALK.write(f, walk, inner=target.lanes)
    pieces = (f["count"] + (target.rows - 1)) // target.rows
    with f.loop(0, layer["parts"]) as part:
        first, last = (layer["channel_blocks"] * number // layer["parts"] for number in (part, part + 1))
        WALK.write(f, walk, middle=last - first)
        a, b = f["a"] + first * layer["v_block_bytes"], f["b"] + first * block_bytes
        following = f["b"] + last * block_bytes
        with f.loop(0, pieces) as piece:
            start, stop = f["count"] * piece // pieces, f["count"] * (piece + 1) // pieces
            offset = start * target.vector_bytes
            given = [a + offset, b, walk, f["c"] + offset, layer["m_block_bytes"], following, part]
            emit_choice(f, stop - start, {n: (f"tile_{n}x{columns}", given) for n in range(1, target.rows + 1)})
    f.give()


def emit_choice(f: Function, number: Value, calls: dict[int, tuple[str, list[Value]]]) -> None:
    """Call the function that belongs to a number; none where there is none."""
    after = f.fresh("chosen")
    labels = {n: f.fresh("case") for n in calls}
    f.do(
        f"switch i64 {number.text}, label %{after} [ {' '.join(f'i64 {n}, label %{at}' for n, at in labels.items())} ]"
    )
    for n, (name, arguments) in calls.items():
        f.label(labels[n])
        f.call(name, arguments)
        f.jump(after)
    f.label(after)


def _emit_register_tile(module: Module, tile: Tile) -> None:
    """tile_<rows>x<columns>(a, b, walk, c, column_bytes, ahead, part): c = a b in the first part, c += a b after it."""
    names = {"a": PTR, "b": PTR, "walk": PTR, "c": PTR, "column_bytes": I64, "ahead": PTR, "part": I64}
    f = module.function(f"tile_{tile.rows}x{tile.columns}", names, inner=True)
    sums: dict[tuple[int, int], Value] = {}
    emit_tile(f, tile, lambda row, column, value: sums.update({(row, column): value}))
    first = f["part"].equals(0)
    for begins, branch in ((True, f.when), (False, f.otherwise)):
        with branch(first):
            for (row, column), value in sums.items():
                place = f["c"] + (f["column_bytes"] * column + row * tile.target.vector_bytes)
                total = value if begins else value + f.load(value.type, place, align=64)
                f.store(total, place, align=64)
    f.give()
