"""Activations of a linear layer in 8 bits, with a scale a token; and the numpy twin.

x is about scale * q, q = round(x / scale) from -127 to 127, ties to even:

    scale = max |x| / 127 of the token (dynamic), or one number for all (static), beyond which x is cut off

A token with a number that is not finite has NaN for a scale, so that what diverges is seen. Tokens of a tile lie side
by side: [64 inputs][token][64] bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from secateur.ir.balanced_format import SLOT_COLUMNS
from secateur.kernels.code import FLOAT, PTR, Function, Module, Value, Variable, literal, vector
from secateur.kernels.lanes import absolute, at_least, at_most, lanes_of, nearest, reinterpreted
from secateur.kernels.linear_bytes import HALF, offset
from secateur.kernels.linear_input import ARGUMENTS
from secateur.kernels.linear_lanes import as_type, called, numbers
from secateur.kernels.target import Target

if TYPE_CHECKING:
    from jaxtyping import Float32, Int8

LARGEST = 127
"""The largest |q|."""
LEAST_SCALE = 2.0**-120
"""Below it a token counts as zeros: the inverse would leave float32."""
BYTE_ARGUMENTS = {**ARGUMENTS, "scale": PTR, "given": FLOAT}
"""Those of every input_token, then where the token's scale goes, and the static scale, 0 for a dynamic one."""


def quantized(
    x: Float32[np.ndarray, "tokens inputs"], given: float = 0.0
) -> tuple[Int8[np.ndarray, "tokens inputs"], Float32[np.ndarray, " tokens"]]:
    """q and scales: the definition."""
    largest = np.abs(x).max(axis=1, initial=0.0).astype(np.float32)
    scale = largest / np.float32(LARGEST) if given == 0 else np.full(len(x), given, np.float32)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        inverse = np.where(scale < LEAST_SCALE, np.float32(0), np.float32(1) / scale)
        places = np.rint(np.clip(x * inverse[:, None], -LARGEST, LARGEST))
    return np.nan_to_num(places).astype(np.int8), np.where(np.isfinite(largest), scale, np.float32(np.nan))


def emit_byte_input(module: Module, target: Target) -> None:
    """input_token(...) for bytes."""
    f = module.function("input_token", BYTE_ARGUMENTS, inner=True)
    largest = _largest(f, target)
    scale = f.choose(_positive(f, f["given"]), f["given"], _over(f, largest, float(LARGEST)), FLOAT)
    tiny = f.emit("i1", f"fcmp olt float {scale.text}, {literal(LEAST_SCALE)}")
    one = _number(f, 1.0)
    inverse = f.splat(f.choose(tiny, _number(f, 0.0), f.arithmetic("div", one, scale), FLOAT), target.lanes)
    f.store(scale + (largest - largest), f["scale"])
    whole = f["inputs"] // SLOT_COLUMNS
    with f.loop(0, whole) as slot:
        at = [f["x"] + (slot * (4 * SLOT_COLUMNS) + 4 * first) for first in range(0, SLOT_COLUMNS, target.lanes)]
        values = [f.load(vector(target.lanes), place) * inverse for place in at]
        store_slot(f, target, values, f["packed"] + slot * f["step"])
    with f.loop(whole, f["columns"] // SLOT_COLUMNS) as slot:
        for first in range(0, SLOT_COLUMNS, target.lanes):
            mask = f.lanes_below(f["inputs"] - (slot * SLOT_COLUMNS + first), target.lanes)
            value = f.load_masked(vector(target.lanes), f["x"] + (slot * (4 * SLOT_COLUMNS) + 4 * first), mask)
            store_bytes(f, target, value * inverse, f["packed"] + (slot * f["step"] + first))
    f.give()


def emit_code_input(module: Module, target: Target, *, signed: bool) -> None:
    """input_token(...) for codes: a copy, as what the target multiplies by."""
    f = module.function("input_token", BYTE_ARGUMENTS, inner=True)
    f.store(f["given"], f["scale"])
    whole = f["inputs"] // SLOT_COLUMNS
    with f.loop(0, whole) as slot:
        for first in range(0, SLOT_COLUMNS, target.vector_bytes):
            value = f.load(vector(target.vector_bytes, "i8"), f["x"] + (slot * SLOT_COLUMNS + first), 1)
            f.store(as_stored(value, target, signed=signed), f["packed"] + (slot * f["step"] + first), 16)
    with f.loop(whole, f["columns"] // SLOT_COLUMNS) as slot:
        for first in range(0, SLOT_COLUMNS, target.lanes):
            mask = f.lanes_below(f["inputs"] - (slot * SLOT_COLUMNS + first), target.lanes)
            value = f.load_masked(vector(target.lanes, "i8"), f["x"] + (slot * SLOT_COLUMNS + first), mask)
            f.store(as_stored(value, target, signed=signed), f["packed"] + (slot * f["step"] + first), 1)
    f.give()


def as_stored(codes: Value, target: Target, *, signed: bool) -> Value:
    """Codes with the offset added."""
    if not offset(target, signed=signed):
        return codes
    return codes.code.arithmetic("xor", codes, numbers(codes.code, "i8", [-HALF] * lanes_of(codes)))


def _number(f: Function, number: float) -> Value:
    """A float constant."""
    return Value(f, FLOAT, literal(number))


def _positive(f: Function, x: Value) -> Value:
    return f.emit("i1", f"fcmp ogt float {x.text}, {literal(0.0)}")


def _over(f: Function, x: Value, number: float) -> Value:
    return f.arithmetic("div", x, _number(f, number))


def _largest(f: Function, target: Target) -> Value:
    """max |x|, NaN where there is one: as integers, floats without a sign are in order, and NaN is above infinity."""
    kind, lanes = vector(target.lanes, "i32"), target.lanes
    found = [f.variable(kind, Value(f, kind, "zeroinitializer")) for _ in range(2)]
    whole = f["inputs"] // (2 * lanes) * (2 * lanes)
    with f.loop(0, whole, 2 * lanes) as first:
        for number, one in enumerate(found):
            _raise(one, f.load(vector(lanes), f["x"] + (first * 4 + number * target.vector_bytes)))
    with f.loop(whole, f["inputs"], lanes) as first:
        mask = f.lanes_below(f["inputs"] - first, lanes)
        _raise(found[0], f.load_masked(vector(lanes), f["x"] + first * 4, mask))
    both = _larger(found[0].get(), found[1].get())
    most = called(f, "i32", f"llvm.vector.reduce.smax.v{lanes}i32", both)
    return f.emit(FLOAT, f"bitcast i32 {most.text} to float")


def _raise(one: Variable, x: Value) -> None:
    one.set(_larger(one.get(), reinterpreted(absolute(x), "i32")))


def _larger(a: Value, b: Value) -> Value:
    lanes = int(a.type[1:].split()[0])
    return called(a.code, a.type, f"llvm.smax.v{lanes}i32", a, b)


def store_slot(f: Function, target: Target, places: list[Value], to: Value) -> None:
    """Numbers of a whole slot of columns, as bytes; on avx512 with a pack and a shuffle for all of them."""
    if target.name != "avx512":
        for number, part in enumerate(places):
            store_bytes(f, target, part, to + number * target.lanes)
        return
    end, i32, i16, i8 = f.splat(float(LARGEST), target.lanes), *(vector(512 // b, f"i{b}") for b in (32, 16, 8))
    convert, nearest_even = "llvm.x86.avx512.mask.cvtps2dq.512", "i32 8"
    zeros = Value(f, i32, "zeroinitializer")
    wide = [called(f, i32, convert, at_most(part, end), zeros, "i16 -1", nearest_even) for part in places]
    halves = [called(f, i16, "llvm.x86.avx512.packssdw.512", *wide[first : first + 2]) for first in (0, 2)]
    fours = as_type(called(f, i8, "llvm.x86.avx512.packsswb.512", *halves), i32)
    order = ", ".join(f"i32 {4 * (lane % 4) + lane // 4}" for lane in range(target.lanes))  # packs stay in 128 bits
    narrow = f.emit(i32, f"shufflevector {i32} {fours.text}, {i32} poison, {i32} <{order}>")
    narrow = called(f, i8, "llvm.smax.v64i8", as_type(narrow, i8), numbers(f, "i8", [-LARGEST] * SLOT_COLUMNS))
    f.store(f.arithmetic("xor", narrow, numbers(f, "i8", [-128] * SLOT_COLUMNS)), to, 16)


def store_bytes(f: Function, target: Target, places: Value, to: Value) -> None:
    """Numbers rounded and cut off, as bytes."""
    lanes, end = target.lanes, f.splat(float(LARGEST), target.lanes)
    rounded = nearest(at_most(at_least(places, -end), end))
    wide = f.emit(vector(lanes, "i32"), f"fptosi {rounded.type} {rounded.text} to {vector(lanes, 'i32')}")
    narrow = f.emit(vector(lanes, "i8"), f"trunc {wide.type} {wide.text} to {vector(lanes, 'i8')}")
    if offset(target, signed=True):
        narrow = f.arithmetic("xor", narrow, numbers(f, "i8", [-128] * lanes))
    f.store(narrow, to)
