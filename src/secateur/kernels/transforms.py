"""Code for an exact linear transform (maths.transform.Transform) of a tile, vectorised over channels.

A transform is a product of sparse factors, each a short program repeated over the rest of the tile: loops in the code
where source and destination are regular in them, otherwise written out. Between factors a tile lies on the stack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction

from secateur.kernels.code import Function, Value, vector
from secateur.kernels.target import Target
from secateur.maths.straight_line import StraightLine
from secateur.maths.transform import Stage, Transform

Index = Value | int
Read = Callable[["Grid"], Value]
Write = Callable[["Grid", Value], None]


@dataclass(frozen=True)
class Grid:
    """An element of a tile: row and column, each known now or at run time."""

    row: Index
    column: Index


def emit_transform(f: Function, target: Target, shape: tuple[Transform, int, int], read: Read, write: Write) -> None:
    """Emit `transform`: vectors come from `read` and go to `write`, which get places in grids of the given widths.

    shape: the transform, the width of the grid its input lies in, and the width of its output's.
    """
    transform, width_in, width_out = shape
    widths = [width_in, *(0 for _ in transform.stages[1:]), width_out]
    sizes = [stage.repeats * stage.matrix.shape[0] for stage in transform.stages[:-1]]
    kind = vector(target.lanes)
    buffers = [f.room(kind, size) for size in sizes]
    for number, stage in enumerate(transform.stages):
        source = read if number == 0 else _from_buffer(f, target, buffers[number - 1])
        sink = write if number == len(sizes) else _to_buffer(target, buffers[number])
        _emit_stage(f, target, stage, (source, widths[number]), (sink, widths[number + 1]))


def _from_buffer(f: Function, target: Target, buffer: Value) -> Read:
    return lambda at: f.load(vector(target.lanes), buffer + at.column * target.vector_bytes, align=64)


def _to_buffer(target: Target, buffer: Value) -> Write:
    return lambda at, value: value.code.store(value, buffer + at.column * target.vector_bytes, align=64)


def _emit_stage(f: Function, target: Target, stage: Stage, source: tuple[Read, int], sink: tuple[Write, int]) -> None:
    """One factor: its program for every vector along its axis."""
    (read, width_in), (write, width_out) = source, sink
    rows, columns = stage.matrix.shape
    rolled = all(_regular(stage, width, size) for width, size in ((width_in, columns), (width_out, rows)))
    with _repeats(f, stage, rolled=rolled) as places:
        for before, after in places:
            inputs = [read(_place(stage, (before, j, after), width_in, columns)) for j in range(columns)]
            for j, value in enumerate(emit_program(f, target, stage.program, inputs)):
                write(_place(stage, (before, j, after), width_out, rows), value)


def _regular(stage: Stage, width: int, size: int) -> bool:
    """Whether row and column of an element follow from the loop counters without a division."""
    return width in (0, stage.after) or (stage.after == 1 and width == size)


@contextmanager
def _repeats(f: Function, stage: Stage, *, rolled: bool) -> Iterator[list[tuple[Index, Index]]]:
    """The places a stage is repeated at: one, in loops, or all of them written out."""
    if not rolled:
        yield [(i, k) for i in range(stage.before) for k in range(stage.after)]
    elif stage.before > 1 and stage.after > 1:
        with f.loop(0, stage.before) as i, f.loop(0, stage.after) as k:
            yield [(i, k)]
    elif stage.repeats > 1:
        with f.loop(0, stage.repeats) as i:
            yield [(i, 0) if stage.before > 1 else (0, i)]
    else:
        yield [(0, 0)]


def _place(stage: Stage, at: tuple[Index, int, Index], width: int, size: int) -> Grid:
    """Element j of a vector as row and column of a grid; width 0 is one long row."""
    before, j, after = at
    if isinstance(before, int) and isinstance(after, int):
        flat = (before * size + j) * stage.after + after
        return Grid(flat // width, flat % width) if width else Grid(0, flat)
    outer = before * size + j
    if width == 0:
        return Grid(0, outer * stage.after + after)
    return Grid(outer, after) if width == stage.after else Grid(before, j)


def emit_program(f: Function, target: Target, program: StraightLine, inputs: list[Value]) -> list[Value]:
    """The steps of a straight-line program on vectors; a product and a sum are one rounding (FMA)."""
    values = list(inputs)
    for step in program.steps:
        values.append(_emit_step(f, target, (step.ca, values[step.a]), (step.cb, values[step.b])))
    return [values[index] for index in program.outputs]


def _emit_step(f: Function, target: Target, one: tuple[Fraction, Value], two: tuple[Fraction, Value]) -> Value:
    (ca, a), (cb, b) = one, two
    if cb == 0:
        return _times(f, target, ca, a)
    if abs(ca) == 1 and abs(cb) == 1:
        return a + b if (ca, cb) == (1, 1) else a - b if ca == 1 else b - a if cb == 1 else -(a + b)
    if abs(ca) == 1:
        (ca, a), (cb, b) = two, one
    return f.fma(f.splat(float(ca), target.lanes), a, _times(f, target, cb, b))


def _times(f: Function, target: Target, c: Fraction, x: Value) -> Value:
    return x if c == 1 else -x if c == -1 else x * f.splat(float(c), target.lanes)
