"""A direct convolution from the same register tile: no transform, any stride, dilation, padding and number of groups.

The work is a list of tasks, made once a layer: a few output pixels in a row or column, times one panel of output
channels, over the taps they see. Threads take tasks off the list; each is one call of a register tile that ends in the
epilogue. Distances between pixels are constants of the code, so the code belongs to one shape.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from secateur.kernels.code import FLOAT, I64, PTR, Function, Module, Value, vector
from secateur.kernels.driver import JOB
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.fast import blocks_of
from secateur.kernels.layout import CALL
from secateur.kernels.memory import aligned
from secateur.kernels.products_stage import emit_choice
from secateur.kernels.record import Record
from secateur.kernels.regions import Segment, segments
from secateur.kernels.register_tile import WALK, Tile, emit_tile
from secateur.kernels.shape import ConvShape
from secateur.kernels.target import Target

if TYPE_CHECKING:
    from jaxtyping import Float32, Int64

DIRECT = Record(
    *("tasks", "image_tasks", "all_tasks", "image_bytes", "out_image_bytes", "walks", "weights", "bias", "slope")
)
"""What the code is told: addresses of tasks and walks, how many tasks one image has and all images have."""
TASK = Record("tile", "source_bytes", "target_bytes", "weight_bytes", "channel", "walk", "left")
"""A task: number of its tile, offsets into image, output and weights, output channel, walk, channels to store (of a
depthwise one: rows of taps to sum)."""
TILE = {"a": PTR, "b": PTR, "walk": PTR, "c": PTR, "residual": PTR, "bias": PTR, "slope": FLOAT, "left": I64}
"""Arguments of every register tile."""
STRIP_BYTES = 128 << 10
"""Input that a group of tasks reads before the next panel of weights: what stays in cache beside the weights."""
CLAIM = 8
"""Tasks that a thread takes at once, at least."""
CLAIMS = 64
"""So many times, about, every thread takes tasks: few enough that the counter's cache line stays out of the way, many
enough that no thread waits long for the last."""


@dataclass(frozen=True)
class Variant:
    """One register tile of a layer's code: its rows lie along a row of pixels or along a column."""

    rows: int
    columns: int
    upright: bool


@dataclass(frozen=True)
class _Strip:
    """Neighbouring output pixels that see the same taps."""

    y: int
    x: int
    rows: int
    upright: bool
    vertical: Segment
    horizontal: Segment


_Panel = tuple[int, int, int, int]
_Work = tuple[_Strip, tuple[int, _Panel]]
_Tables = tuple[dict[Variant, int], dict[tuple[int, ...], int]]
_Given = tuple[dict[str, Value], Value, dict[str, Value]]


def variants(shape: ConvShape, target: Target) -> list[Variant]:
    """The register tiles a layer needs, in the order of their numbers."""
    widths = {columns for *_, columns in _panels(shape, target)}
    lengths = {(strip.rows, strip.upright) for strip in _strips(shape, target)}
    return [Variant(rows, columns, upright) for rows, upright in sorted(lengths) for columns in sorted(widths)]


def _strips(shape: ConvShape, target: Target) -> Iterator[_Strip]:
    """The whole output, rectangle by rectangle, along its longer side."""
    for vertical in segments(shape, 0):
        for horizontal in segments(shape, 1):
            upright = vertical.count > horizontal.count and horizontal.count < target.rows
            along, across = (vertical, horizontal) if upright else (horizontal, vertical)
            pieces = blocks_of(along.count, target.rows)
            for line in range(across.start, across.stop):
                for piece in range(pieces):
                    start = along.start + along.count * piece // pieces
                    rows = along.start + along.count * (piece + 1) // pieces - start
                    y, x = (start, line) if upright else (line, start)
                    yield _Strip(y, x, rows, upright, vertical, horizontal)


def _panels(shape: ConvShape, target: Target) -> list[_Panel]:
    """(group, number of the panel, channels left in the group, vectors of the panel) of every panel."""
    per_group = shape.out_channels // shape.groups
    found = []
    for group in range(shape.groups):
        for panel in range(blocks_of(per_group, target.panel)):
            left = min(target.panel, per_group - panel * target.panel)
            found.append((group, panel, left, blocks_of(left, target.lanes)))
    return found


def packed_direct(
    weight: Float32[np.ndarray, "k c r s"], shape: ConvShape, target: Target
) -> Float32[np.ndarray, "panels size"]:
    """Weights in panels: [group and panel][tap row][tap column][channel][output channel of the panel]."""
    channels, per_group = weight.shape[1], shape.out_channels // shape.groups
    taps = shape.taps[0] * shape.taps[1]
    panels = _panels(shape, target)
    packed = aligned((len(panels), taps * channels * target.panel))
    for number, (group, panel, left, vectors) in enumerate(panels):
        first = group * per_group + panel * target.panel
        part = weight[first : first + left].transpose(2, 3, 1, 0).reshape(taps * channels, left)
        packed[number, : taps * channels * vectors * target.lanes].reshape(taps * channels, -1)[:, :left] = part
    return packed


def merged(shape: ConvShape) -> bool:
    """Whether tap columns and channels are one run of memory, in the image as in the weights."""
    return shape.dilation[1] == 1 and shape.groups == 1


def walk_numbers(shape: ConvShape, strip: tuple[int, int], columns: int, target: Target) -> tuple[int, ...]:
    """The walk over (rows, columns) of taps for a tile of `columns` vectors, in the order of WALK."""
    channels = shape.in_channels // shape.groups
    rows, width = strip
    step_b = channels * columns * target.vector_bytes
    a_row, a_column = (4 * shape.in_channels * step for step in (shape.dilation[0] * shape.width, shape.dilation[1]))
    outer = (rows, a_row, shape.taps[1] * step_b)
    return (*outer, 1, 0, 0, width * channels) if merged(shape) else (*outer, width, a_column, step_b, channels)


def task_list(shape: ConvShape, target: Target) -> tuple[Int64[np.ndarray, "tasks 7"], Int64[np.ndarray, "walks 7"]]:
    """The tasks of one image, in the order that keeps their data in cache, and the walks they refer to by offset."""
    known = {variant: number for number, variant in enumerate(variants(shape, target))}
    walks: dict[tuple[int, ...], int] = {}
    panels = list(enumerate(_panels(shape, target)))
    strips = list(_strips(shape, target))
    reach = 4 * shape.in_channels * shape.reach[0] * (shape.stride[1] * target.rows + shape.reach[1])
    together = max(1, STRIP_BYTES // reach)
    found = []
    for first in range(0, len(strips), together):
        for panel in panels:
            for strip in strips[first : first + together]:
                found.append(_task(shape, target, (strip, panel), (known, walks)))
    tasks = np.array(found, np.int64).reshape(-1, len(TASK.names))
    return tasks, np.array(list(walks), np.int64).reshape(-1, len(WALK.names))


def _task(shape: ConvShape, target: Target, what: _Work, tables: _Tables) -> tuple[int, ...]:
    strip, (number, (group, panel, left, columns)) = what
    known, walks = tables
    vertical, horizontal = strip.vertical, strip.horizontal
    walk = walk_numbers(shape, (vertical.taps, horizontal.taps), columns, target)
    channels, per_group = shape.in_channels // shape.groups, shape.out_channels // shape.groups
    y = strip.y * shape.stride[0] - shape.padding[0] + vertical.first * shape.dilation[0]
    x = strip.x * shape.stride[1] - shape.padding[2] + horizontal.first * shape.dilation[1]
    seen = vertical.taps * horizontal.taps > 0
    source = 4 * ((y * shape.width + x) * shape.in_channels + group * channels) if seen else 0
    channel = group * per_group + panel * target.panel
    sink = 4 * ((strip.y * shape.out_width + strip.x) * shape.out_channels + channel)
    panel_bytes = shape.taps[0] * shape.taps[1] * channels * target.panel * 4
    tap = vertical.first * shape.taps[1] + horizontal.first
    weights = number * panel_bytes + tap * channels * columns * target.vector_bytes
    place = walks.setdefault(walk, len(walks)) * WALK.size_bytes
    return known[Variant(strip.rows, columns, strip.upright)], source, sink, weights, channel, place, left


def direct_module(shape: ConvShape, target: Target, epilogue: Epilogue) -> str:
    """direct_convolution(layer, call, member, members): the code of one shape with one epilogue."""
    module = Module()
    found = variants(shape, target)
    for number, variant in enumerate(found):
        _emit_variant(module, shape, target, (number, variant, epilogue))
    emit_tasks(module, len(found))
    return module.text()


def emit_tasks(module: Module, tiles: int) -> None:
    """direct_convolution(...): takes tasks off the list and calls tile_<number> for each; there are so many tiles."""
    f = module.function("direct_convolution", JOB)
    layer = DIRECT.read(f, f["layer"])
    claim = f.most(layer["all_tasks"] // (f["members"] * CLAIMS), CLAIM)
    first = f.variable(I64, 0)
    with f.repeat_until() as until:
        first.set(f.add_atomic(CALL.place(f["call"], "next_block"), claim))
        stop = f.least(first.get() + claim, layer["all_tasks"])
        _emit_claim(f, (first.get(), stop), layer, tiles)
        until(stop >= layer["all_tasks"])
    f.give()


def _emit_claim(f: Function, claim: tuple[Value, Value], layer: dict[str, Value], tiles: int) -> None:
    """The tasks of a claim, one after another. A division a claim, none a task."""
    tasks = DIRECT.read_pointer(f, f["layer"], "tasks")
    pointers = {name: CALL.read_pointer(f, f["call"], name) for name in ("source", "target", "residual")}
    image, number = f.variable(I64, claim[0] // layer["image_tasks"]), f.variable(I64, claim[0] % layer["image_tasks"])
    with f.loop(*claim):
        task = tasks + number.get() * TASK.size_bytes
        given = _task_arguments(f, task, (layer, image.get(), pointers))
        emit_choice(f, TASK.read(f, task)["tile"], {n: (f"tile_{n}", given) for n in range(tiles)})
        number.set(number.get() + 1)
        with f.when(number.get().equals(layer["image_tasks"])):
            number.set(0)
            image.set(image.get() + 1)


def _task_arguments(f: Function, place: Value, given: _Given) -> list[Value]:
    """The arguments of TILE."""
    layer, image, pointers = given
    task = TASK.read(f, place)
    walks, weights, bias = (DIRECT.read_pointer(f, f["layer"], name) for name in ("walks", "weights", "bias"))
    sink = image * layer["out_image_bytes"] + task["target_bytes"]
    return [
        pointers["source"] + (image * layer["image_bytes"] + task["source_bytes"]),
        weights + task["weight_bytes"],
        walks + task["walk"],
        pointers["target"] + sink,
        pointers["residual"] + sink,
        bias + task["channel"] * 4,
        DIRECT.read_float(f, f["layer"], "slope"),
        task["left"],
    ]


def _emit_fetch(f: Function, epilogue: Epilogue, places: list[int]) -> None:
    """Ask for what a tile adds and overwrites before its products are summed."""
    for place in places:
        if epilogue.residual:
            f.prefetch(f["residual"] + place, 2)
        f.prefetch(f["c"] + place, 2, write=True)


def _emit_variant(module: Module, shape: ConvShape, target: Target, what: tuple[int, Variant, Epilogue]) -> None:
    """tile_<number>(...): a register tile and its epilogue."""
    number, variant, epilogue = what
    f = module.function(f"tile_{number}", TILE, inner=True)
    line = shape.width * shape.stride[0] if variant.upright else shape.stride[1]
    out_line = 4 * shape.out_channels * (shape.out_width if variant.upright else 1)
    kind, size = vector(target.lanes), target.vector_bytes
    ragged = (shape.out_channels // shape.groups) % target.lanes != 0
    mask = f.lanes_below(f["left"] - (variant.columns - 1) * target.lanes, target.lanes) if ragged else None

    def store(row: int, column: int, value: Value) -> None:
        place = row * out_line + column * size
        part = mask if column == variant.columns - 1 else None
        shift = [f.load(kind, f["bias"] + column * size)]
        if epilogue.residual:
            address = f["residual"] + place
            shift.append(f.load_masked(kind, address, part) if part else f.load(kind, address))
        done = epilogue.emit(f, value, tuple(shift), f["slope"])
        if part:
            f.store_masked(done, f["c"] + place, part)
        else:
            f.store(done, f["c"] + place)

    _emit_fetch(f, epilogue, [r * out_line + c * size for r in range(variant.rows) for c in range(variant.columns)])
    emit_tile(f, Tile(target, variant.rows, variant.columns, 4 * shape.in_channels * line), store)
    f.give()
