"""A depthwise convolution, every channel by itself: vectors run over channels, which lie side by side in memory.

A task is a strip of output pixels in a row, over all channels: one vector of every pixel at a time, each input vector
loaded once a row of taps for all pixels that see it. Which column of taps lies in the padding is known when code is
emitted, which row when a task is made; so there is neither a padded copy nor a test. Tasks are those of `direct`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from secateur.kernels.code import PTR, Function, Module, Value, vector
from secateur.kernels.direct import TASK, TILE, emit_tasks
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.fast import blocks_of
from secateur.kernels.memory import aligned
from secateur.kernels.regions import Segment, segments
from secateur.kernels.register_tile import WALK
from secateur.kernels.shape import ConvShape
from secateur.kernels.target import Target

if TYPE_CHECKING:
    from jaxtyping import Float32, Int64

STRIP_PIXELS = 8
"""Outputs of a strip at most, and no more than rows of a register tile: with the taps of a row and an input their sums
stay in registers."""
Strip = tuple[tuple[int, int], ...]
"""For every output of a strip, the first column of taps that it sees and the one after the last."""


def is_depthwise(shape: ConvShape) -> bool:
    """Whether every output channel is made from the input channel of its number alone, and there are several."""
    return 1 < shape.groups == shape.in_channels == shape.out_channels


def packed_depthwise(
    weight: Float32[np.ndarray, "k 1 r s"], shape: ConvShape, target: Target
) -> Float32[np.ndarray, "blocks taps lanes"]:
    """Weights as [channel block][tap row and column][channel of the block], else zeros."""
    taps, blocks = shape.taps[0] * shape.taps[1], blocks_of(shape.out_channels, target.lanes)
    packed, by_tap = aligned((blocks, taps, target.lanes)), weight.reshape(-1, taps).T
    for number in range(blocks):
        part = by_tap[:, number * target.lanes : (number + 1) * target.lanes]
        packed[number, :, : part.shape[1]] = part
    return packed


def depthwise_tasks(
    shape: ConvShape, target: Target
) -> tuple[Int64[np.ndarray, "tasks 7"], Int64[np.ndarray, "walks 7"]]:
    """The tasks of one image, row by row, and no walks; `tile` is the number of a strip, `left` its rows of taps."""
    numbers = {strip: number for number, strip in enumerate(_strips(shape, target))}
    size, found = target.vector_bytes, []
    for y, rows in enumerate(_seen(shape, 0)):
        row = y * shape.stride[0] - shape.padding[0] + rows.first * shape.dilation[0]
        for start, strip in _row(shape, target):
            column = start * shape.stride[1] - shape.padding[2]
            source = 4 * (row * shape.width + column) * shape.in_channels
            sink = 4 * (y * shape.out_width + start) * shape.out_channels
            found.append((numbers[strip], source, sink, rows.first * shape.taps[1] * size, 0, 0, rows.taps))
    return np.array(found, np.int64).reshape(-1, len(TASK.names)), np.zeros((0, len(WALK.names)), np.int64)


def depthwise_module(shape: ConvShape, target: Target, epilogue: Epilogue) -> str:
    """direct_convolution(layer, call, member, members): the code of one depthwise layer with one epilogue."""
    module = Module()
    found = _strips(shape, target)
    for number, strip in enumerate(found):
        _emit_strip(module, number, _Emitted(shape, target, epilogue, strip))
    emit_tasks(module, len(found))
    return module.text()


def _seen(shape: ConvShape, axis: int) -> list[Segment]:
    """For every output along an axis the taps that it sees."""
    return [segment for segment in segments(shape, axis) for _ in range(segment.count)]


def _row(shape: ConvShape, target: Target) -> list[tuple[int, Strip]]:
    """The strips of an output row, about equally long, with the column each begins at."""
    seen = [(segment.first, segment.last) for segment in _seen(shape, 1)]
    pieces = blocks_of(len(seen), min(STRIP_PIXELS, target.rows))
    starts = [len(seen) * piece // pieces for piece in range(pieces + 1)]
    return [(start, tuple(seen[start:stop])) for start, stop in pairwise(starts)]


def _strips(shape: ConvShape, target: Target) -> list[Strip]:
    """The different ones, in the order of their numbers."""
    return list(dict.fromkeys(strip for _, strip in _row(shape, target)))


@dataclass(frozen=True)
class _Emitted:
    """What the code of a strip is made from."""

    shape: ConvShape
    target: Target
    epilogue: Epilogue
    strip: Strip

    @property
    def inputs(self) -> dict[int, list[tuple[int, int]]]:
        """Column of the input -> (output, column of taps) that it is multiplied for."""
        found: dict[int, list[tuple[int, int]]] = {}
        for output, (first, last) in enumerate(self.strip):
            for tap in range(first, last):
                column = output * self.shape.stride[1] + tap * self.shape.dilation[1]
                found.setdefault(column, []).append((output, tap))
        return dict(sorted(found.items()))


def _emit_strip(module: Module, number: int, made: _Emitted) -> None:
    """tile_<number>(...): whole vectors of channels one after the other, then what is left of them."""
    shape, target = made.shape, made.target
    f = module.function(f"tile_{number}", TILE, inner=True)
    whole, left = divmod(shape.out_channels, target.lanes)
    with f.loop(0, whole) as block:
        _emit_block(f, made, block, None)
    if left:
        _emit_block(f, made, f.constant(whole), f.lanes_below(f.constant(left), target.lanes))
    f.give()


def _emit_block(f: Function, made: _Emitted, block: Value, mask: Value | None) -> None:
    """One vector of every pixel of the strip."""
    shape, target = made.shape, made.target
    kind, size, pixel = vector(target.lanes), target.vector_bytes, 4 * shape.out_channels
    offset = block * size

    def read(address: Value) -> Value:
        return f.load(kind, address) if mask is None else f.load_masked(kind, address, mask)

    sums = [f.variable(kind, read(f["bias"] + offset)) for _ in made.strip]
    a, b = f.variable(PTR, f["a"] + offset), f.variable(PTR, f["b"] + block * (shape.taps[0] * shape.taps[1] * size))
    with f.loop(0, f["left"]):
        source, weights = a.get(), b.get()
        taps = {tap for uses in made.inputs.values() for _, tap in uses}
        factors = {tap: f.load(kind, weights + tap * size) for tap in sorted(taps)}
        for column, uses in made.inputs.items():
            x = read(source + 4 * column * shape.in_channels)
            for output, tap in uses:
                sums[output].set(f.fma(x, factors[tap], sums[output].get()))
        a.set(source + 4 * shape.dilation[0] * shape.width * shape.in_channels)
        b.set(weights + shape.taps[1] * size)
    for output, total in enumerate(sums):
        place = offset + output * pixel
        added = (read(f["residual"] + place),) if made.epilogue.residual else ()
        done = made.epilogue.emit(f, total.get(), added, f["slope"])
        if mask is None:
            f.store(done, f["c"] + place)
        else:
            f.store_masked(done, f["c"] + place, mask)
