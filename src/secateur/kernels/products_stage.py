"""Second stage of a fast convolution: a matrix product per point, tiles x channels times channels x output channels."""

from __future__ import annotations

from dataclasses import dataclass

from secateur.kernels.code import I64, PTR, Function, Module, Value
from secateur.kernels.layout import LAYER
from secateur.kernels.register_tile import Tile, emit_block_tile
from secateur.kernels.target import Target

SUMMED, SUMMED_LARGE, LARGE_TILE = 64, 32, 100
"""Channels, about, whose products are summed in registers at a time, and as many for tiles of more than LARGE_TILE
products, which magnify rounding errors: two thirds of an error with 64 channels, for up to 5 % more time."""


def summed_channels(products: int) -> int:
    """For an algorithm of so many products."""
    return SUMMED_LARGE if products > LARGE_TILE else SUMMED


@dataclass(frozen=True)
class _Cut:
    """A length in `pieces` of `size`, the first `longer` of them with one more. Divided once, not at every point."""

    pieces: Value
    size: Value
    longer: Value

    def size_of(self, f: Function, piece: Value) -> Value:
        """How long a piece is."""
        return f.choose(piece < self.longer, self.size + 1, self.size)


def emit_products_stage(module: Module, target: Target) -> None:
    """products_stage(layer, v, m, count, first, panels, start, stop): items start..stop-1 of points x `panels` panels
    from `first` on, for the `count` tiles of a block."""
    for columns in range(1, target.columns + 1):
        for rows in range(1, target.rows + 1):
            _emit_register_tile(module, Tile(target, rows, columns, target.vector_bytes))
    numbers = dict.fromkeys(("count", "first", "panels", "start", "stop"), I64)
    f = module.function("products_stage", {"layer": PTR, "v": PTR, "m": PTR, **numbers})
    layer = LAYER.read(f, f["layer"])
    weights = LAYER.read_pointer(f, f["layer"], "weights")
    tiles = _cut(f, f["count"], (f["count"] + (target.rows - 1)) // target.rows)
    channels = _cut(f, layer["channel_blocks"], layer["parts"])
    points, panels = f.variable(I64, f["start"] // f["panels"]), f.variable(I64, f["start"] % f["panels"])
    with f.loop(f["start"], f["stop"]):
        point, panel = points.get(), panels.get()
        a = f["v"] + point * layer["v_point_bytes"]
        b = weights + (point * layer["weight_point_bytes"] + (f["first"] + panel) * layer["weight_panel_bytes"])
        c = f["m"] + (point * layer["m_point_bytes"] + panel * target.columns * layer["block_bytes"])
        left = layer["out_blocks"] - (f["first"] + panel) * target.columns
        for columns in range(1, target.columns + 1):
            fits = left >= columns if columns == target.columns else left.equals(columns)
            with f.when(fits):
                _emit_panel(f, target, columns, (a, b, c, layer["block_bytes"]), (tiles, channels))
        last = (panel + 1).equals(f["panels"])
        points.set(f.choose(last, point + 1, point))
        panels.set(f.choose(last, 0, panel + 1))
    f.give()


def _cut(f: Function, length: Value, pieces: Value) -> _Cut:
    """In pieces of equal length; none where there is nothing to cut."""
    size = length // f.most(pieces, 1)
    return _Cut(pieces, size, length - size * pieces)


def _emit_panel(
    f: Function, target: Target, columns: int, at: tuple[Value, Value, Value, Value], cuts: tuple[_Cut, _Cut]
) -> None:
    """All tiles against one panel: a, b and c, and the distance of blocks, split into register tiles.

    Channels are summed in parts, and these sums added: so rounding errors grow less, and a part of the panel
    stays in the first-level cache for all tiles. Every piece fetches the part of the panel that comes next: layers
    with few tiles have one piece, and wait for weights that come from memory.
    """
    a_start, b_start, c, block_bytes = at
    tiles, channels = cuts
    a, b = f.variable(PTR, a_start), f.variable(PTR, b_start)
    with f.loop(0, channels.pieces) as part:
        blocks, offset = channels.size_of(f, part), f.variable(I64, 0)
        with f.loop(0, tiles.pieces) as piece:
            rows, start = tiles.size_of(f, piece), offset.get()
            given = [a.get() + start, b.get(), c + start, blocks, block_bytes, part]
            emit_choice(f, rows, {n: (f"tile_{n}x{columns}", given) for n in range(1, target.rows + 1)})
            offset.set(start + rows * target.vector_bytes)
        a.set(a.get() + blocks * block_bytes)
        b.set(b.get() + blocks * (target.lanes * columns * target.vector_bytes))


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
    """tile_<rows>x<columns>(a, b, c, blocks, block_bytes, part): c = a b in the first part, c += a b after it."""
    names = {"a": PTR, "b": PTR, "c": PTR, "blocks": I64, "block_bytes": I64, "part": I64}
    f = module.function(f"tile_{tile.rows}x{tile.columns}", names, inner=True)
    sums: dict[tuple[int, int], Value] = {}
    emit_block_tile(f, tile, lambda row, column, value: sums.update({(row, column): value}))
    first = f["part"].equals(0)
    for begins, branch in ((True, f.when), (False, f.otherwise)):
        with branch(first):
            for (row, column), value in sums.items():
                place = f["c"] + (f["block_bytes"] * column + row * tile.target.vector_bytes)
                total = value if begins else value + f.load(value.type, place, align=64)
                f.store(total, place, align=64)
    f.give()
