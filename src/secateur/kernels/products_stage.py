"""Second stage of a fast convolution: a matrix product per point, tiles x channels times channels x output channels."""

from __future__ import annotations

from secateur.kernels.code import I64, PTR, Function, Module, Value
from secateur.kernels.layout import LAYER
from secateur.kernels.register_tile import WALK, Tile, emit_tile
from secateur.kernels.target import Target


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

    Every piece fetches half of the next panel: weights rarely fit the caches of a core, and are read in order.
    """
    f = module.function(f"rows_{columns}", {"layer": PTR, "a": PTR, "b": PTR, "c": PTR, "count": I64}, inner=True)
    layer = LAYER.read(f, f["layer"])
    walk = f.room(I64, len(WALK.names))
    WALK.write(f, walk, outer=1, a_outer=0, b_outer=0, middle=layer["channel_blocks"], a_middle=layer["v_block_bytes"])
    WALK.write(f, walk, b_middle=columns * target.lanes * target.vector_bytes, inner=target.lanes)
    half = layer["weight_panel_bytes"] // 2
    pieces = (f["count"] + (target.rows - 1)) // target.rows
    with f.loop(0, pieces) as piece:
        start, stop = f["count"] * piece // pieces, f["count"] * (piece + 1) // pieces
        offset = start * target.vector_bytes
        ahead = f["b"] + (layer["weight_panel_bytes"] + piece % 2 * half)
        given = [f["a"] + offset, f["b"], walk, f["c"] + offset, layer["m_block_bytes"], ahead]
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
    """tile_<rows>x<columns>(a, b, walk, c, column_bytes, ahead)."""
    names = {"a": PTR, "b": PTR, "walk": PTR, "c": PTR, "column_bytes": I64, "ahead": PTR}
    f = module.function(f"tile_{tile.rows}x{tile.columns}", names, inner=True)

    def store(row: int, column: int, value: Value) -> None:
        f.store(value, f["c"] + f["column_bytes"] * column + row * tile.target.vector_bytes, align=64)

    emit_tile(f, tile, store)
    f.give()
