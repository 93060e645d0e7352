"""Elementwise kernels with sums: one pass over every row of some matrices, with constants of the row's own.

A row's terms are added four vectors at a time, pairwise in float32, and those sums in float64, lane by lane: the error
stays near 2 roundings of float32 however long the row is, and the order depends on nothing but the row's length.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from secateur.kernels.code import FLOAT, I64, PTR, Function, Module, Value, Variable, vector
from secateur.kernels.compiler import Library
from secateur.kernels.lanes import DOUBLE, chosen, total, widened
from secateur.kernels.target import Target

if TYPE_CHECKING:
    from jaxtyping import Float64

GROUP = 4
"""Vectors a round, a power of two."""

Numbers: TypeAlias = 'float | Float64[np.ndarray, " rows"]'
"""One for all rows, or one a row."""
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

    def loaded(self, library: Library) -> RowJob:
        """The function in code that has been loaded."""
        addresses = len(self.inputs) + len(self.outputs) + 2
        job = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * addresses, ctypes.c_int64, ctypes.c_int64)
        return RowJob(library, job(library.addresses[self.name]), self.sums)


@dataclass(frozen=True)
class RowJob:
    """A RowKernel's function, ready to be called."""

    library: Library
    job: Any
    sums: int

    def __call__(self, addresses: Sequence[int], size: int, constants: Sequence[Any]) -> list[Any]:
        """One pass over dense matrices of `size` elements at these addresses; gives the sums in float64.

        constants are numbers, and arrays with one number a row. Where all are numbers there is one row, and so are the
        sums. Then it stays among Python's own numbers: between the layers of a training step nothing of numpy is in
        the caches, and each call of it takes ten microseconds.
        """
        rows = next((len(one) for one in constants if isinstance(one, np.ndarray)), None)
        if rows is None:
            found = (ctypes.c_double * self.sums)()
            self.job(*addresses, (ctypes.c_float * len(constants))(*constants), found, 1, size)
            return list(found)
        table, found = np.empty((rows, len(constants)), np.float32), np.empty((rows, self.sums))
        for column, numbers in enumerate(constants):
            table[:, column] = numbers
        self.job(*addresses, table.ctypes.data, found.ctypes.data, rows, size // rows if rows else 0)
        return list(found.T)


def rows_module(kernels: Iterable[RowKernel], target: Target) -> str:
    """The kernels as functions of one module."""
    module = Module()
    for kernel in kernels:
        emit_rows(module, target, kernel)
    return module.text()


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
        emit_row(f, target, kernel, constants, (row * f["columns"] * 4, totals))
        for index, one in enumerate(totals):
            f.store(total(one.get()), f["sums"] + (row * (8 * kernel.sums) + 8 * index))
    f.give()


def emit_row(
    f: Function, target: Target, kernel: RowKernel, constants: Sequence[Value], row: tuple[Value, Sequence[Variable]]
) -> None:
    """One row of f["columns"] numbers. row: (its place in bytes, float64 vectors that its sums are added to)."""
    start, totals = row
    sources, results = ([f[name] + start for name in names] for names in (kernel.inputs, kernel.outputs))
    kind, lanes, columns = vector(target.lanes), target.lanes, f["columns"]
    whole = columns // (GROUP * lanes) * (GROUP * lanes)
    with f.loop(0, whole, GROUP * lanes) as first:

        def terms_of(part: int) -> Sequence[Value]:
            at = first * 4 + part * target.vector_bytes
            written, terms = kernel.step(constants, [f.load(kind, source + at) for source in sources])
            for value, result in zip(written, results, strict=True):
                f.store(value, result + at)
            return terms

        for one, term in zip(totals, pairwise(map(terms_of, range(GROUP))), strict=True):
            add_wide(one, term)
    with f.loop(whole, columns, lanes) as first:
        mask, at = f.lanes_below(columns - first, lanes), first * 4
        written, terms = kernel.step(constants, [f.load_masked(kind, source + at, mask) for source in sources])
        for value, result in zip(written, results, strict=True):
            f.store_masked(value, result + at, mask)
        for one, term in zip(totals, terms, strict=True):
            add_wide(one, chosen(mask, term, f.splat(0.0, lanes)))


def pairwise(parts: Iterable[Sequence[Value]]) -> Sequence[Value]:
    """Sums over parts, a power of two of them: pairs, pairs of pairs, as soon as they are there."""
    found: list[Sequence[Value]] = []
    for part, terms in enumerate(parts):
        found.append(terms)
        for _ in range((part + 1 & -(part + 1)).bit_length() - 1):
            later, earlier = found.pop(), found.pop()
            found.append([a + b for a, b in zip(earlier, later, strict=True)])
    (whole,) = found
    return whole


def add_wide(one: Variable, term: Value) -> None:
    """Add a float32 vector to a float64 one."""
    one.set(one.get() + widened(term))
