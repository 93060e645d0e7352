"""The penalty of a whole network's LagrangeNorm layers in one call, and its gradients in another.

A training step at batch 1 is as long as its calls: these are two, whatever the number of layers. A third adds to the
gradient of one layer's input, for inputs whose gradients together would take too much memory; it keeps nothing from
before but the input, whose moments it computes again.
"""

from __future__ import annotations

import ctypes
import functools
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from secateur.kernels.build import CodeUnit, built
from secateur.kernels.code import FLOAT, I64, PTR, Function, Module, Value, literal
from secateur.kernels.compiler import Library
from secateur.kernels.lanes import DOUBLE
from secateur.kernels.moments import emit_moments
from secateur.kernels.norm_terms import Bounds, terms_pass
from secateur.kernels.rows import emit_rows
from secateur.kernels.target import Target

ROW = ("x", "multipliers", "pull", "last", "batch", "rows", "columns", "channels")
"""A layer, 8 bytes each: addresses of its input, of its multipliers and of what the input is pulled by; whether
channels come last, the three sizes that `moments` takes, channels."""
SIZES = slice(ROW.index("last"), ROW.index("channels"))
"""Those of an input. Where all are 0, "gradients" writes no pull."""
BLOCKS = {
    "penalty": ("wanted", "weights", "moments", "slope", "ascent"),
    "gradients": ("wanted", "weights", "moments", "scale", "slope", "ascent"),
    "added": ("wanted", "weights", "scale", "scratch", "x_grad"),
}
"""Arrays of all layers, float32, one block of (2, channels) a layer after another, but for `scale`, a number that all
gradients are multiplied by. "penalty" writes moments and needs the room after them; "gradients" writes those of moments
and multipliers. "added" has what is wanted and weights of its layer alone, room for SCRATCH numbers a channel, and the
gradient."""
SCRATCH = 6
Table: TypeAlias = "array[int]"


@dataclass(frozen=True)
class NormPenalty:
    """The calls, loaded. layers: `table_of` rows as in ROW; blocks: addresses as in BLOCKS."""

    library: Library
    penalty_job: Any
    gradients_job: Any
    added_job: Any

    def penalty(self, layers: Table, blocks: Sequence[int]) -> float:
        """The sum of all terms."""
        count = len(layers) // len(ROW)
        values = (ctypes.c_double * count)()
        self.penalty_job(layers.buffer_info()[0], *blocks, values, count)
        return sum(values)

    def gradients(self, layers: Table, blocks: Sequence[int]) -> None:
        """Those of moments and multipliers, and pulls."""
        self.gradients_job(layers.buffer_info()[0], *blocks, None, len(layers) // len(ROW))

    def added(self, layers: Table, layer: int, blocks: Sequence[int]) -> None:
        """Adds to the gradient of the input of one of the layers."""
        self.added_job(layers.buffer_info()[0] + 8 * len(ROW) * layer, *blocks, None, 1)


def table_of(rows: Sequence[int]) -> Table:
    """Rows of layers, one after another, in memory."""
    return array("q", rows)


def norm_penalty_unit(bounds: Bounds, target: Target) -> CodeUnit:
    """Code of all calls."""
    made_from = f"{bounds} {target.name}"
    return CodeUnit("norm_penalty", tuple(BLOCKS), made_from, lambda: norm_penalty_module(bounds, target))


@functools.cache
def norm_penalty_of(bounds: Bounds, target: Target) -> NormPenalty:
    """The calls, from memory, disk or the compiler."""
    library = built(norm_penalty_unit(bounds, target), target)
    kinds = (ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * (2 + len(one)), ctypes.c_int64) for one in BLOCKS.values())
    return NormPenalty(library, *(kind(library.addresses[name]) for kind, name in zip(kinds, BLOCKS, strict=True)))


def norm_penalty_module(bounds: Bounds, target: Target) -> str:
    """The calls and the passes they make, as functions of one module."""
    module, terms = Module(), terms_pass(bounds)
    emit_moments(module, target)
    emit_rows(module, target, terms)
    for name, emit in zip(BLOCKS, (_emit_penalty, _emit_gradients, _emit_added), strict=True):
        f = module.function(name, {**dict.fromkeys(("layers", *BLOCKS[name], "values"), PTR), "count": I64})
        begin = f.variable(I64, 0)
        with f.loop(0, f["count"]) as layer:
            row = f["layers"] + layer * (8 * len(ROW))
            kinds = (PTR, PTR, PTR, *[I64] * (len(ROW) - 3))
            numbers: dict[str, Value] = dict(
                zip(ROW, (f.load(kind, row + 8 * n) for n, kind in enumerate(kinds)), strict=True)
            )
            blocks = [f[one] if one == "scale" else f[one] + begin.get() for one in BLOCKS[name]]
            emit(terms.name, f, numbers, blocks, f["values"] + layer * 8)
            begin.set(begin.get() + numbers["channels"] * 8)
        f.give()
    return module.text()


def _emit_penalty(terms: str, f: Function, layer: dict[str, Value], blocks: list[Value], value: Value) -> None:
    """Of one layer."""
    wanted, weights, moments, slope, ascent = blocks
    one = f.room(FLOAT)
    f.store(Value(f, FLOAT, literal(1.0)), one)
    _emit_call(f, "forward", layer, [layer["x"], moments, moments + layer["channels"] * 4])
    _emit_terms(terms, f, layer, [moments, wanted, weights, slope, ascent, one, value])


def _emit_gradients(terms: str, f: Function, layer: dict[str, Value], blocks: list[Value], _: Value) -> None:
    """Of one layer."""
    wanted, weights, moments, scale, slope, ascent = blocks
    _emit_terms(terms, f, layer, [moments, wanted, weights, slope, ascent, scale, f.room(DOUBLE)])
    _emit_call(f, "backward", layer, [layer["x"], layer["pull"], moments, slope, slope + layer["channels"] * 4])


def _emit_added(terms: str, f: Function, layer: dict[str, Value], blocks: list[Value], _: Value) -> None:
    """Of one layer."""
    wanted, weights, scale, scratch, x_grad = blocks
    mean, variance, mean_grad, variance_grad, ascent, _ = (
        scratch + layer["channels"] * (4 * row) for row in range(SCRATCH)
    )
    _emit_call(f, "forward", layer, [layer["x"], mean, variance])
    _emit_terms(terms, f, layer, [mean, wanted, weights, mean_grad, ascent, scale, f.room(DOUBLE)])
    _emit_call(f, "added", layer, [layer["x"], x_grad, mean, mean_grad, variance_grad])


def _emit_terms(terms: str, f: Function, layer: dict[str, Value], arrays: list[Value]) -> None:
    moments, *others = arrays
    f.call(terms, [moments, layer["multipliers"], *others, f.constant(1), layer["channels"] * 2])


def _emit_call(f: Function, name: str, layer: dict[str, Value], addresses: list[Value]) -> None:
    """A pass in the layer's memory order."""
    is_last = layer["last"].equals(1)
    arguments = [*addresses, *(layer[size] for size in ("batch", "rows", "columns"))]
    with f.when(is_last):
        f.call(f"last_{name}", arguments)
    with f.otherwise(is_last):
        f.call(f"by_channel_{name}", arguments)
