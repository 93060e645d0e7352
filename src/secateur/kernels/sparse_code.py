"""The code of a convolution with a sparse weight: into lanes, sums over the non-zeros, out of lanes with the epilogue.

A group of patches at a time: its input is transposed into planes, one a channel, whose vectors hold one pixel of every
patch. A tile is then summed output channel by output channel: a non-zero is one number, broadcast, and as many fused
multiply-adds as the tile has vectors, each with one load that begins at a cache line. Channels come in blocks, so that
what a tile reads of a block stays in the first-level cache for all output channels; sums wait in memory between blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

from secateur.kernels.code import FLOAT, I64, PTR, Function, Module, Value, Variable, vector
from secateur.kernels.driver import JOB
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.layout import CALL
from secateur.kernels.memory import CACHE_LINE_BYTES
from secateur.kernels.record import Record
from secateur.kernels.sparse_weights import ENTRY_BYTES
from secateur.kernels.target import Target
from secateur.kernels.transposing import transposed
from secateur.kernels.waiting import emit_barrier

SPARSE = Record(
    *("groups", "read", "read_bytes", "written", "written_bytes", "nothing"),
    *("channels", "plane_vectors", "plane_bytes", "planes_bytes"),
    *("tiles", "tile_starts", "chunks", "chunk_rows", "sums_bytes"),
    *("blocks", "starts", "entries", "out_channels", "bias", "slope"),
)
"""Addresses of the tables of `sparse_weights`, and bytes of those of places a group; `nothing`: zeros, read for pixels
outside the image; a channel's plane and all of them; output channels of a chunk, whose sums one thread keeps in
`sums_bytes` of the workspace behind the planes, with room for a vector that nobody reads."""
ROWS = {"starts": PTR, "entries": PTR, "planes": PTR, "sums": PTR, "first": I64, "last": I64}
FINISH = {"sums": PTR, "places": PTR, "target": PTR, "residual": PTR, "spare": PTR, "bias": PTR, "slope": FLOAT}
BRING = {"source": PTR, "nothing": PTR, "places": PTR, "planes": PTR, "plane_bytes": I64, "left": I64}


@dataclass(frozen=True)
class SparseCode:
    """What the code depends on: bytes from a tile's first output to each, and whether channels leave a vector
    partly empty (of input, of output)."""

    target: Target
    epilogue: Epilogue
    places: tuple[int, ...]
    ragged: tuple[bool, bool]

    @property
    def code_name(self) -> str:
        """Equal for equal code, given the target."""
        return f"{self.places} {self.ragged} {self.epilogue.code_name}"


def sparse_module(code: SparseCode) -> str:
    """sparse_convolution(layer, call, member, members)."""
    module = Module()
    for part in (False, True) if code.ragged[0] else (False,):
        _emit_bring(module, code, part)
    for begins in (True, False):
        _emit_rows(module, code, begins)
    for part in (False, True) if code.ragged[1] else (False,):
        _emit_finish(module, code, part)
    _emit_groups(module, code)
    return module.text()


def _emit_bring(module: Module, code: SparseCode, part: bool) -> None:
    """bring_<part>(...): a vector of channels of a pixel of every patch, into as many planes."""
    target = code.target
    f = module.function(f"bring_{int(part)}", BRING, inner=True)
    kind = vector(target.lanes)
    mask = f.lanes_below(f["left"], target.lanes) if part else None
    rows = []
    for lane in range(target.lanes):
        place = f.load(I64, f["places"] + 8 * lane)
        address = f.choose(place < 0, f["nothing"], f["source"] + place, PTR)
        rows.append(f.load_masked(kind, address, mask) if mask else f.load(kind, address))
    plane = f["planes"]
    for column in transposed(rows):
        f.store(column, plane, align=target.vector_bytes)
        plane = plane + f["plane_bytes"]
    f.give()


def _emit_rows(module: Module, code: SparseCode, begins: bool) -> None:
    """rows_<begins>(...): sums of a tile over a block of channels, from zero or from what waits; starts lies at the
    first output channel's."""
    target, places = code.target, code.places
    f = module.function(f"rows_{int(begins)}", ROWS, inner=True)
    kind, size = vector(target.lanes), target.vector_bytes
    totals = [f.variable(kind, f.splat(0.0, target.lanes)) for _ in places]
    stop = f.variable(I64, f.load(I64, f["starts"]))
    with f.loop(f["first"], f["last"]) as row:
        sums = f["sums"] + (row - f["first"]) * (len(places) * size)
        for index, total in enumerate(totals):
            total.set(f.splat(0.0, target.lanes) if begins else f.load(kind, sums + index * size, align=size))
        start = stop.get()
        stop.set(f.load(I64, f["starts"] + (row - f["first"]) * 8 + 8))
        with f.loop(start, stop.get(), ENTRY_BYTES) as entry:
            _emit_entry(f, code, f["entries"] + entry, totals)
        for index, total in enumerate(totals):
            f.store(total.get(), sums + index * size, align=size)
    f.give()


def _emit_entry(f: Function, code: SparseCode, entry: Value, totals: list[Variable]) -> None:
    target = code.target
    place = f.emit(I64, f"sext i32 {f.load('i32', entry).text} to i64")
    weight = f.splat(f.load(FLOAT, entry + 4), target.lanes)
    x = f["planes"] + place
    for total, at in zip(totals, code.places, strict=True):
        total.set(f.fma(weight, f.load(vector(target.lanes), x + at, align=target.vector_bytes), total.get()))


def _emit_finish(module: Module, code: SparseCode, part: bool) -> None:
    """finish_<part>(...): a vector of output channels of a tile, out of lanes and through the epilogue. Pixels that do
    not exist are written to `spare`."""
    target, size = code.target, code.target.vector_bytes
    f = module.function(f"finish_{int(part)}", {**FINISH, "offset": I64, "left": I64}, inner=True)
    kind, step = vector(target.lanes), len(code.places) * size
    mask = f.lanes_below(f["left"], target.lanes) if part else None
    bias = f.load(kind, f["bias"] + f["offset"])
    with f.loop(0, len(code.places)) as index:
        sums, places = f["sums"] + index * size, f["places"] + index * (8 * target.lanes)
        columns = transposed([f.load(kind, sums + row * step, align=size) for row in range(target.lanes)])
        for lane, total in enumerate(columns):
            place = f.load(I64, places + 8 * lane)
            outside, place = place < 0, place + f["offset"]
            added = [bias]
            if code.epilogue.residual:
                other = f.choose(outside, f["spare"], f["residual"] + place, PTR)
                added.append(f.load_masked(kind, other, mask) if mask else f.load(kind, other))
            done = code.epilogue.emit(f, total, tuple(added), f["slope"])
            address = f.choose(outside, f["spare"], f["target"] + place, PTR)
            if mask:
                f.store_masked(done, address, mask)
            else:
                f.store(done, address)
    f.give()


def _emit_groups(module: Module, code: SparseCode) -> None:
    """All groups of patches, the threads sharing each."""
    f = module.function("sparse_convolution", JOB)
    layer = SPARSE.read(f, f["layer"])
    passed = f.variable(I64, 0)
    planes = CALL.read_pointer(f, f["call"], "workspace")
    sums = planes + (layer["planes_bytes"] + f["member"] * layer["sums_bytes"])
    arrived = CALL.place(f["call"], "arrived")
    with f.loop(0, layer["groups"]) as group:
        _emit_input(f, code, layer, (planes, group))
        emit_barrier(f, code.target, arrived, f["members"], passed)
        start, stop = _share(f, layer["tiles"] * layer["chunks"])
        with f.loop(start, stop) as item:
            _emit_item(f, code, layer, (planes, sums, group, item))
        emit_barrier(f, code.target, arrived, f["members"], passed)
    f.give()


def _share(f: Function, items: Value) -> tuple[Value, Value]:
    """The range of items that belongs to this thread."""
    return items * f["member"] // f["members"], items * (f["member"] + 1) // f["members"]


def _emit_input(f: Function, code: SparseCode, layer: dict[str, Value], at: tuple[Value, Value]) -> None:
    """This thread's pixels of all channels into planes."""
    planes, group = at
    lanes, size = code.target.lanes, code.target.vector_bytes
    source, read, nothing = (
        CALL.read_pointer(f, f["call"], "source"),
        SPARSE.read_pointer(f, f["layer"], "read") + group * layer["read_bytes"],
        SPARSE.read_pointer(f, f["layer"], "nothing"),
    )
    start, stop = _share(f, layer["plane_vectors"])
    with f.loop(0, layer["channels"], lanes) as channel, f.loop(start, stop) as pixel:
        sink = planes + (channel * layer["plane_bytes"] + pixel * size)
        given = [source + channel * 4, nothing, read + pixel * (8 * lanes), sink, layer["plane_bytes"]]
        _call_part(f, "bring", code.ragged[0], [*given, layer["channels"] - channel], lanes)


def _emit_item(f: Function, code: SparseCode, layer: dict[str, Value], at: tuple[Value, ...]) -> None:
    """One tile and chunk of output channels."""
    planes, sums, group, item = at
    lanes, size = code.target.lanes, code.target.vector_bytes
    step = len(code.places) * size
    tile, chunk = item // layer["chunks"], item % layer["chunks"]
    first = chunk * layer["chunk_rows"]
    last = f.least(first + layer["chunk_rows"], layer["out_channels"])
    pointer = {name: SPARSE.read_pointer(f, f["layer"], name) for name in ("tile_starts", "starts", "entries", "bias")}
    start = planes + f.load(I64, pointer["tile_starts"] + tile * 8)
    with f.loop(0, layer["blocks"]) as block:
        starts = pointer["starts"] + (block * layer["out_channels"] + first) * 8
        given = [starts, pointer["entries"], start, sums, first, last]
        with f.when(block.equals(0)):
            f.call("rows_1", given)
        with f.otherwise(block.equals(0)):
            f.call("rows_0", given)
    written = SPARSE.read_pointer(f, f["layer"], "written") + group * layer["written_bytes"]
    written = written + tile * (len(code.places) * 8 * lanes)
    target, residual = (CALL.read_pointer(f, f["call"], name) for name in ("target", "residual"))
    spare = sums + (layer["sums_bytes"] - max(size, CACHE_LINE_BYTES))
    slope = SPARSE.read_float(f, f["layer"], "slope")
    with f.loop(first, last, lanes) as row:
        given = [sums + (row - first) * step, written, target, residual, spare, pointer["bias"], slope, row * 4]
        _call_part(f, "finish", code.ragged[1], [*given, layer["out_channels"] - row], lanes)


def _call_part(f: Function, name: str, ragged: bool, given: list[Value], lanes: int) -> None:
    """The function for whole vectors, or where channels leave one partly empty the one for that; `given` ends with how
    many are left; only `finish` and `bring` take it."""
    whole = given[-1] >= lanes
    if not ragged:
        f.call(f"{name}_0", given)
        return
    with f.when(whole):
        f.call(f"{name}_0", given)
    with f.otherwise(whole):
        f.call(f"{name}_1", given)
