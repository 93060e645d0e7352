"""Mean and variance of every channel, and their gradient in the values, as generated code: one pass each.

With M values a channel, mu = mean(x) and v = mean((x - mu)^2):

    forward     of d = x - x_0, x_0 a channel's first value:   mu = x_0 + S1 / M,   v = S2 / M - (S1 / M)^2
    backward    dx = dmu / M + 2 dv / M (x - mu)
    added       dx += the same

Differences from a value of the channel's own, and sums in float64, so that a large mean costs no digits. Two memory
orders: channel after channel, (batch, channels, positions), and channels last, (rows, channels).
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from secateur.kernels.build import CodeUnit, built
from secateur.kernels.code import BIT, FLOAT, I64, PTR, Function, Module, Value, vector
from secateur.kernels.compiler import Library
from secateur.kernels.lanes import DOUBLE, total
from secateur.kernels.rows import GROUP, RowKernel, add_wide, emit_row, pairwise
from secateur.kernels.target import Target

GRADIENTS = ("mean", "mean_grad", "variance_grad")
MAPS = {"forward": (("x",), ()), "backward": (("x",), ("x_grad",)), "added": (("x", "x_grad"), ("x_grad",))}
"""Of every pass: (read, written) for every value."""
READ = {"forward": (), "backward": GRADIENTS, "added": GRADIENTS}
WRITTEN = {"forward": ("mean", "variance"), "backward": (), "added": ()}
"""Numbers a channel that are read and written."""


def moments_unit(target: Target) -> CodeUnit:
    """Code of all passes in both orders."""
    return CodeUnit("moments", tuple(EXPORTS), target.name, lambda: moments_module(target))


def moments_module(target: Target) -> str:
    """The passes as functions of one module."""
    module = Module()
    emit_moments(module, target)
    return module.text()


def emit_moments(module: Module, target: Target) -> None:
    """The passes as functions of a module."""
    for order, emit in ORDERS.items():
        for name in READ:
            emit(_begun(module, f"{order}_{name}", name), target, name)


@dataclass(frozen=True)
class Moments:
    """The passes in both orders, loaded.

    Arguments are addresses, float32: values as in MAPS, then numbers a channel as in READ and WRITTEN; then (batch,
    channels, positions) of by_channel, (1, rows, channels) of last. Not 0 values; what is written overlaps no other.
    """

    library: Library
    by_channel_forward: Any
    by_channel_backward: Any
    by_channel_added: Any
    last_forward: Any
    last_backward: Any
    last_added: Any


@functools.cache
def moments_of(target: Target) -> Moments:
    """The passes, from memory, disk or the compiler."""
    library = built(moments_unit(target), target)

    def job(exported: str, name: str) -> Any:
        kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(_arrays(name)), *[ctypes.c_int64] * 3)
        return kind(library.addresses[exported])

    return Moments(library, *(job(*one) for one in EXPORTS.items()))


def _begun(module: Module, exported: str, name: str) -> Function:
    pointers = dict.fromkeys(_arrays(name), PTR)
    return module.function(exported, {**pointers, "batch": I64, "rows": I64, "columns": I64})


def _arrays(name: str) -> list[str]:
    """What a pass takes addresses of."""
    read, written = MAPS[name]
    return list(dict.fromkeys((*read, *written, *READ[name], *WRITTEN[name])))


def _emit_by_channel(f: Function, target: Target, name: str) -> None:
    """rows: channels, columns: positions. Sums of a channel go over the batch too."""
    count = f["batch"] * f["columns"]
    kernel = RowKernel(name, *MAPS[name], constants=0, sums=len(WRITTEN[name]), step=STEPS[name])
    nothing = Value(f, vector(target.lanes, DOUBLE), "zeroinitializer")
    totals = [f.variable(nothing.type, nothing) for _ in WRITTEN[name]]
    with f.loop(0, f["rows"]) as channel:
        first = f.load(FLOAT, f["x"] + channel * f["columns"] * 4)
        numbers = [f.load(FLOAT, f[one] + channel * 4) for one in READ[name]]
        constants = [f.splat(one, target.lanes) for one in _constants(name, numbers, first, count)]
        for one in totals:
            one.set(nothing)
        with f.loop(0, f["batch"]) as example:
            start = (example * f["rows"] + channel) * f["columns"] * 4
            emit_row(f, target, kernel, constants, (start, totals))
        for written, value in zip(
            WRITTEN[name], _results([total(one.get()) for one in totals], first, count), strict=True
        ):
            f.store(value, f[written] + channel * 4)
    f.give()


def _emit_last(f: Function, target: Target, name: str) -> None:
    """columns: channels, a vector of them at a time; sums go down the rows."""
    lanes, kind, rows = target.lanes, vector(target.lanes), f["rows"]
    nothing = Value(f, vector(lanes, DOUBLE), "zeroinitializer")
    totals = [f.variable(nothing.type, nothing) for _ in WRITTEN[name]]
    with f.loop(0, f["columns"], lanes) as channel:
        mask = f.lanes_below(f["columns"] - channel, lanes)
        first = f.load_masked(kind, f["x"] + channel * 4, mask)
        numbers = [f.load_masked(kind, f[one] + channel * 4, mask) for one in READ[name]]
        constants = _constants(name, numbers, first, rows)
        for one in totals:
            one.set(nothing)
        whole = rows // GROUP * GROUP
        for start, stop, group in ((0, whole, GROUP), (whole, rows, 1)):
            with f.loop(start, stop, group) as row:
                found = pairwise(
                    _row_terms(f, name, constants, ((row + part) * f["columns"] + channel, mask))
                    for part in range(group)
                )
                for one, term in zip(totals, found, strict=True):
                    add_wide(one, term)
        for written, value in zip(WRITTEN[name], _results([one.get() for one in totals], first, rows), strict=True):
            f.store_masked(value, f[written] + channel * 4, mask)
    f.give()


def _row_terms(f: Function, name: str, constants: Sequence[Value], place: tuple[Value, Value]) -> Sequence[Value]:
    index, mask = place
    read, written = MAPS[name]
    values, terms = STEPS[name](constants, [f.load_masked(constants[0].type, f[one] + index * 4, mask) for one in read])
    for value, one in zip(values, written, strict=True):
        f.store_masked(value, f[one] + index * 4, mask)
    return terms


def _constants(name: str, numbers: Sequence[Value], first: Value, count: Value) -> list[Value]:
    """Of one channel, or of a vector of channels: what a step takes."""
    if name == "forward":
        return [first]
    mean, mean_grad, variance_grad = numbers
    share = first.code.arithmetic("div", _number(first, 1.0), _counted(first, count))
    return [mean, mean_grad * share, (variance_grad + variance_grad) * share]


def _forward_step(constants: Sequence[Value], inputs: Sequence[Value]) -> tuple[list[Value], list[Value]]:
    (first,), (x,) = constants, inputs
    apart = x - first
    return [], [apart, apart * apart]


def _backward_step(constants: Sequence[Value], inputs: Sequence[Value]) -> tuple[list[Value], list[Value]]:
    (mean, offset, slope), (x,) = constants, inputs
    return [x.code.fma(x - mean, slope, offset)], []


def _added_step(constants: Sequence[Value], inputs: Sequence[Value]) -> tuple[list[Value], list[Value]]:
    x, x_grad = inputs
    (pull,), _ = _backward_step(constants, [x])
    return [x_grad + pull], []


def _results(sums: Sequence[Value], first: Value, count: Value) -> list[Value]:
    """What becomes of the sums, float64, of one channel or of a vector of channels."""
    if not sums:
        return []
    f, size = first.code, _counted(sums[0], count)
    mean, square = (f.arithmetic("div", one, size) for one in sums)
    variance = square - mean * mean
    below = f.emit(_of(variance, BIT), f"fcmp olt {variance.type} {variance.text}, {_number(variance, 0.0).text}")
    variance = f.choose(below, _number(variance, 0.0), variance, variance.type)  # NaN stays NaN
    return [_narrowed(_converted(first, "fpext", DOUBLE) + mean), _narrowed(variance)]


def _of(like: Value, element: str) -> str:
    """The type with such elements that has as many numbers as a value."""
    return f"{like.type[: like.type.index(' x ')]} x {element}>" if like.type.startswith("<") else element


def _converted(value: Value, instruction: str, element: str) -> Value:
    kind = _of(value, element)
    return value.code.emit(kind, f"{instruction} {value.type} {value.text} to {kind}")


def _narrowed(value: Value) -> Value:
    return _converted(value, "fptrunc", FLOAT)


def _number(like: Value, number: float) -> Value:
    """A number in every lane."""
    one = f"{number:.1f}"
    if not like.type.startswith("<"):
        return Value(like.code, like.type, one)
    lanes, element = like.type[1:-1].split(" x ")
    return Value(like.code, like.type, "<" + ", ".join([f"{element} {one}"] * int(lanes)) + ">")


def _counted(like: Value, count: Value) -> Value:
    """An i64 as a number of the value's type, in every lane."""
    element = DOUBLE if DOUBLE in like.type else FLOAT
    one = count.code.emit(element, f"sitofp i64 {count.text} to {element}")
    if not like.type.startswith("<"):
        return one
    kind, mask = like.type, _of(like, "i32")
    first = one.code.emit(kind, f"insertelement {kind} poison, {element} {one.text}, i64 0")
    return one.code.emit(kind, f"shufflevector {kind} {first.text}, {kind} poison, {mask} zeroinitializer")


STEPS = {"forward": _forward_step, "backward": _backward_step, "added": _added_step}
ORDERS = {"by_channel": _emit_by_channel, "last": _emit_last}
EXPORTS = {f"{order}_{name}": name for order in ORDERS for name in READ}
