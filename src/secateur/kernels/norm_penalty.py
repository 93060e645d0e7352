"""The penalty of a whole network's LagrangeNorm layers in one call, and its gradients in all inputs in another.

A training step at batch 1 is as long as its calls: these are two, whatever the number of layers.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from secateur.kernels.build import CodeUnit, built
from secateur.kernels.code import I64, PTR, Function, Module, Value
from secateur.kernels.compiler import Library
from secateur.kernels.moments import emit_moments
from secateur.kernels.norm_terms import Bounds, terms_pass
from secateur.kernels.rows import emit_rows
from secateur.kernels.target import Target

ROW = ("x", "other", "last", "batch", "rows", "columns", "channels")
"""A layer, 8 bytes each: addresses of its input and of its multipliers, or of what the input is pulled by; whether
channels come last, the three sizes that `moments` takes, channels."""
BLOCKS = {
    "penalty": ("wanted", "weights", "moments", "slope", "ascent"),
    "pulls": ("moments", "slope"),
}
"""Arrays of all layers, one block of (2, channels) a layer after another. "penalty" writes the last three."""


@dataclass(frozen=True)
class NormPenalty:
    """The calls, loaded."""

    library: Library
    penalty_job: Any
    pulls_job: Any

    def penalty(self, layers: Sequence[int], blocks: Sequence[int]) -> float:
        """layers: rows as in ROW, one after another; blocks: addresses as in BLOCKS, float32. Writes moments and the
        gradients of moments and multipliers; gives the sum of all terms."""
        count = len(layers) // len(ROW)
        values = (ctypes.c_double * count)()
        self.penalty_job((ctypes.c_int64 * len(layers))(*layers), *blocks, values, count)
        return sum(values)

    def pulls(self, layers: Sequence[int], blocks: Sequence[int]) -> None:
        """Writes the gradients of all inputs."""
        self.pulls_job((ctypes.c_int64 * len(layers))(*layers), *blocks, None, len(layers) // len(ROW))


def norm_penalty_unit(bounds: Bounds, target: Target) -> CodeUnit:
    """Code of both calls."""
    made_from = f"{bounds} {target.name}"
    return CodeUnit("norm_penalty", tuple(BLOCKS), made_from, lambda: norm_penalty_module(bounds, target))


@functools.cache
def norm_penalty_of(bounds: Bounds, target: Target) -> NormPenalty:
    """The calls, from memory, disk or the compiler."""
    library = built(norm_penalty_unit(bounds, target), target)
    kinds = (ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * (2 + len(one)), ctypes.c_int64) for one in BLOCKS.values())
    return NormPenalty(library, *(kind(library.addresses[name]) for kind, name in zip(kinds, BLOCKS, strict=True)))


def norm_penalty_module(bounds: Bounds, target: Target) -> str:
    """Both calls and the passes they make, as functions of one module."""
    module, terms = Module(), terms_pass(bounds)
    emit_moments(module, target)
    emit_rows(module, target, terms)
    for name, emit in (("penalty", functools.partial(_emit_penalty, terms.name)), ("pulls", _emit_pull)):
        f = module.function(name, {**dict.fromkeys(("layers", *BLOCKS[name], "values"), PTR), "count": I64})
        begin = f.variable(I64, 0)
        with f.loop(0, f["count"]) as layer:
            row = f["layers"] + layer * (8 * len(ROW))
            kinds = (PTR, PTR, *[I64] * (len(ROW) - 2))
            numbers: dict[str, Value] = dict(
                zip(ROW, (f.load(kind, row + 8 * n) for n, kind in enumerate(kinds)), strict=True)
            )
            emit(f, numbers, [f[one] + begin.get() for one in BLOCKS[name]], f["values"] + layer * 8)
            begin.set(begin.get() + numbers["channels"] * 8)
        f.give()
    return module.text()


def _emit_penalty(terms: str, f: Function, layer: dict[str, Value], blocks: list[Value], value: Value) -> None:
    """Of one layer."""
    wanted, weights, moments, slope, ascent = blocks
    _emit_call(f, "forward", layer, [layer["x"], moments, moments + layer["channels"] * 4])
    rows = [Value(f, PTR, "null"), value, f.constant(1), layer["channels"] * 2]
    f.call(terms, [moments, layer["other"], wanted, weights, slope, ascent, *rows])


def _emit_pull(f: Function, layer: dict[str, Value], blocks: list[Value], _: Value) -> None:
    """Of one layer."""
    moments, slope = blocks
    _emit_call(f, "backward", layer, [layer["x"], layer["other"], moments, slope, slope + layer["channels"] * 4])


def _emit_call(f: Function, name: str, layer: dict[str, Value], addresses: list[Value]) -> None:
    """A pass in the layer's memory order."""
    is_last = layer["last"].equals(1)
    arguments = [*addresses, *(layer[size] for size in ("batch", "rows", "columns"))]
    with f.when(is_last):
        f.call(f"last_{name}", arguments)
    with f.otherwise(is_last):
        f.call(f"by_channel_{name}", arguments)
