"""Elementwise kernels with sums: one pass over every row of some matrices, with constants of the row's own.

A row's terms are added four vectors at a time, pairwise in float32, and those sums in float64, lane by lane: the error
stays near 2 roundings of float32 however long the row is, and the order depends on nothing but the row's length.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from secateur.kernels.code import FLOAT, I64, PTR, Function, Module, Value, Variable, vector
from secateur.kernels.lanes import DOUBLE, chosen, total, widened
from secateur.kernels.target import Target

GROUP = 4
"""Vectors a round."""

Step = Callable[[Sequence[Value], Sequence[Value]], tuple[Sequence[Value], Sequence[Value]]]
"""(a row's constants, a vector of every input) -> (a vector of every output, the terms of every sum)"""


@dataclass(frozen=True)
class RowKernel:
    """A function over matrices: names of those read and of those written, how many constants and sums a row has, and
    what happens to a vector.

    Its arguments are addresses of the matrices in that order, of the constants (rows, constants) float32 and of the
    sums (rows, sums) float64, then rows and columns. Outputs may not overlap inputs.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: int
    sums: int
    step: Step

    def job(self) -> Any:
        """Its type, for an address to be called."""
        addresses = len(self.inputs) + len(self.outputs) + 2
        return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * addresses, ctypes.c_int64, ctypes.c_int64)


def emit_rows(module: Module, target: Target, kernel: RowKernel) -> None:
    """The kernel as a function of the module."""
    names = dict.fromkeys((*kernel.inputs, *kernel.outputs, "constants", "sums"), PTR)
    f = module.function(kernel.name, {**names, "rows": I64, "columns": I64})
    nothing = Value(f, vector(target.lanes, DOUBLE), "zeroinitializer")
    totals = [f.variable(nothing.type, nothing) for _ in range(kernel.sums)]
    with f.loop(0, f["rows"]) as row:
        for one in totals:
            one.set(nothing)
        place = f["constants"] + row * (4 * kernel.constants)
        constants = [f.splat(f.load(FLOAT, place + 4 * index), target.lanes) for index in range(kernel.constants)]
        _emit_row(f, target, kernel, constants, (row * f["columns"] * 4, totals))
        for index, one in enumerate(totals):
            f.store(total(one.get()), f["sums"] + (row * (8 * kernel.sums) + 8 * index))
    f.give()


def _emit_row(
    f: Function, target: Target, kernel: RowKernel, constants: Sequence[Value], row: tuple[Value, Sequence[Variable]]
) -> None:
    start, totals = row
    sources, results = ([f[name] + start for name in names] for names in (kernel.inputs, kernel.outputs))
    kind, lanes, columns = vector(target.lanes), target.lanes, f["columns"]
    whole = columns // (GROUP * lanes) * (GROUP * lanes)
    with f.loop(0, whole, GROUP * lanes) as first:
        found = []
        for part in range(GROUP):
            at = first * 4 + part * target.vector_bytes
            written, terms = kernel.step(constants, [f.load(kind, source + at) for source in sources])
            for value, result in zip(written, results, strict=True):
                f.store(value, result + at)
            found.append(terms)
        for one, terms in zip(totals, zip(*found, strict=True), strict=True):
            _add(one, _pairwise(terms))
    with f.loop(whole, columns, lanes) as first:
        mask, at = f.lanes_below(columns - first, lanes), first * 4
        written, terms = kernel.step(constants, [f.load_masked(kind, source + at, mask) for source in sources])
        for value, result in zip(written, results, strict=True):
            f.store_masked(value, result + at, mask)
        for one, term in zip(totals, terms, strict=True):
            _add(one, chosen(mask, term, f.splat(0.0, lanes)))


def _pairwise(terms: Sequence[Value]) -> Value:
    """The sum of a power of two of vectors."""
    while len(terms) > 1:
        terms = [a + b for a, b in zip(terms[::2], terms[1::2], strict=True)]
    return terms[0]


def _add(one: Variable, terms: Value) -> None:
    one.set(one.get() + widened(terms))
