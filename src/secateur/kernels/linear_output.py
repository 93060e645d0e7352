"""What happens to the sums of a linear layer's tile: scales, bias, residual, activation, and into the output, as
float32 or as codes of a map of bytes."""

from __future__ import annotations

from typing import NamedTuple

from secateur.ir.balanced_format import ROWS
from secateur.kernels.byte_maps import ByteMap, ByteMaps, bytes_of
from secateur.kernels.code import FLOAT, I64, PTR, Function, Module, Value, vector
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.lanes import at_least, at_most, floor
from secateur.kernels.linear_form import Form
from secateur.kernels.target import Target

ARGUMENTS = {
    **dict.fromkeys(("sums", "y", "residual", "scale", "less", "bias", "token_scales"), PTR),
    **dict.fromkeys(("tokens", "left", "token_step", "blocks", "block_bytes"), I64),
    **dict.fromkeys(("slope", "inverse", "residual_scale"), FLOAT),
}
"""Of output_tile: sums of some blocks of 16 rows; y and residual at the first token and row; for the rows scales of
weights, what is taken off sums, and the bias; scales of tokens; how many tokens, rows left from the first on, numbers
from token to token of y; how many blocks, and bytes from the sums of one to those of the next; 1 over the scale of y
and the residual's, where these are bytes."""


class Finish(NamedTuple):
    """What is done."""

    epilogue: Epilogue
    form: Form
    maps: ByteMaps


def emit_output(module: Module, target: Target, finish: Finish) -> None:
    """output_tile(...): y = activation(sum + bias + residual); of bytes (sum - less) times the scales of row and token
    first, the row's own being in the sums already where there are scales for groups of columns."""
    f = module.function("output_tile", ARGUMENTS, inner=True)
    with f.loop(0, f["blocks"]) as block:
        left = f["left"] - block * ROWS
        whole = left >= ROWS
        for part in range(ROWS // target.lanes):
            sums = f["sums"] + (block * f["block_bytes"] + part * target.vector_bytes)
            at = sums, block * ROWS + part * target.lanes
            with f.when(whole):
                _emit_part(f, target, finish, at, None)
            with f.otherwise(whole):
                _emit_part(f, target, finish, at, f.lanes_below(left - part * target.lanes, target.lanes))
    f.give()


def _emit_part(f: Function, target: Target, finish: Finish, at: tuple[Value, Value], mask: Value | None) -> None:
    """One vector of rows, for every token."""
    epilogue, form, maps = finish
    sums, row = at
    bias = f.load(vector(target.lanes), f["bias"] + row * 4, 16)
    with f.loop(0, f["tokens"]) as token:
        total = _total(f, target, form, (sums, token, row * 4))
        place = token * f["token_step"] + row
        added = [bias]
        if epilogue.residual:
            added.append(_residual(f, target, maps.adds, f["residual"] + place * bytes_of(maps.adds), mask))
        done = epilogue.emit(f, total, tuple(added), f["slope"])
        if maps.gives is not None:
            done = _codes(f, target, maps.gives, done)
        to = f["y"] + place * bytes_of(maps.gives)
        if mask is None:
            f.store(done, to, bytes_of(maps.gives))
        else:
            f.store_masked(done, to, mask)


def _residual(f: Function, target: Target, one: ByteMap | None, at: Value, mask: Value | None) -> Value:
    kind = vector(target.lanes, FLOAT if one is None else "i8")
    other = f.load(kind, at, bytes_of(one)) if mask is None else f.load_masked(kind, at, mask)
    if one is None:
        return other
    wide, numbers = vector(target.lanes, "i32"), vector(target.lanes)
    integers = f.emit(wide, f"{'sext' if one.signed else 'zext'} {kind} {other.text} to {wide}")
    found = f.emit(numbers, f"sitofp {wide} {integers.text} to {numbers}")
    return found * f.splat(f["residual_scale"], target.lanes)


def _codes(f: Function, target: Target, one: ByteMap, numbers: Value) -> Value:
    """As ByteMap.codes defines them. What is no number has none of the bits that are kept on any target."""
    low, high = (f.splat(float(end), target.lanes) for end in one.ends)
    moved = numbers * f.splat(f["inverse"], target.lanes) + f.splat(0.5, target.lanes)
    whole = floor(at_most(at_least(moved, low), high))
    wide, narrow = vector(target.lanes, "i32"), vector(target.lanes, "i8")
    integers = f.emit(wide, f"fptosi {whole.type} {whole.text} to {wide}")
    return f.emit(narrow, f"trunc {wide} {integers.text} to {narrow}")


def _total(f: Function, target: Target, form: Form, at: tuple[Value, Value, Value]) -> Value:
    sums, token, offset = at
    kind, place = vector(target.lanes), sums + token * (4 * ROWS)
    if form.kind == "float32":
        return f.load(kind, place, 16)
    if not form.scaled:
        wide = vector(target.lanes, "i32")
        exact = f.load(wide, place, 16) - f.load(wide, f["less"] + offset, 16)
        total = f.emit(kind, f"sitofp {wide} {exact.text} to {kind}") * f.load(kind, f["scale"] + offset, 16)
    else:
        total = f.load(kind, place, 16) - f.load(kind, f["less"] + offset, 16)
    return total * f.splat(f.load(FLOAT, f["token_scales"] + token * 4), target.lanes)
