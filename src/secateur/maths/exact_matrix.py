"""Matrices of rational numbers: integers over one common denominator, so that products and proofs are exact."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm
from typing import Any

import numpy as np

Rational = int | Fraction


@dataclass(frozen=True, eq=False)
class ExactMatrix:
    """numerators / denominator, in lowest terms, so that equal matrices have equal fields.

    numerators   two axes, Python integers (dtype object), so that nothing overflows
    denominator  positive
    `np.asarray(matrix, np.float64)` rounds every entry once.
    """

    numerators: np.ndarray
    denominator: int = 1

    def __post_init__(self) -> None:
        common = gcd(self.denominator, *self.numerators.ravel().tolist()) if self.denominator != 1 else 1
        if common != 1:
            object.__setattr__(self, "numerators", self.numerators // common)
            object.__setattr__(self, "denominator", self.denominator // common)
        self.numerators.flags.writeable = False

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self.numerators.shape
        return rows, columns

    def transposed(self) -> ExactMatrix:
        """Rows become columns."""
        return ExactMatrix(self.numerators.T.copy(), self.denominator)

    def __getitem__(self, at: tuple[int, int]) -> Fraction:
        return Fraction(self.numerators[at], self.denominator)

    def rows(self) -> list[list[Fraction]]:
        """Every entry as a Fraction."""
        return [[Fraction(n, self.denominator) for n in row] for row in self.numerators.tolist()]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        # Division of Python integers rounds once, whatever their size.
        return np.array((self.numerators / self.denominator).tolist(), dtype or np.float64).reshape(self.shape)

    def __matmul__(self, other: ExactMatrix) -> ExactMatrix:
        left, right = self.numerators, other.numerators
        if min(left.shape) == 0 or min(right.shape) == 0:
            return zeros(left.shape[0], right.shape[1])
        return ExactMatrix(_product(left, right), self.denominator * other.denominator)

    def kron(self, other: ExactMatrix) -> ExactMatrix:
        """The Kronecker product: the same transform over one more dimension."""
        return ExactMatrix(np.kron(self.numerators, other.numerators), self.denominator * other.denominator)

    def scaled_rows(self, scales: Sequence[Rational]) -> ExactMatrix:
        """Row t times scales[t]."""
        exact = [Fraction(scale) for scale in scales]
        common = lcm(*(scale.denominator for scale in exact))
        factors = np.array([scale.numerator * (common // scale.denominator) for scale in exact], object)
        return ExactMatrix(self.numerators * factors[:, None], self.denominator * common)

    def chosen_rows(self, rows: Sequence[int]) -> ExactMatrix:
        """The named rows, in that order."""
        return ExactMatrix(self.numerators[list(rows)], self.denominator)

    def content(self, row: int) -> Fraction:
        """The positive c for which row / c holds integers without a common factor; 1 for a row of zeros."""
        return Fraction(gcd(*self.numerators[row].tolist()) or self.denominator, self.denominator)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ExactMatrix):
            return NotImplemented
        same = self.shape == other.shape and self.denominator == other.denominator
        return same and bool((self.numerators == other.numerators).all())

    def __hash__(self) -> int:
        return hash((self.denominator, *self.numerators.ravel().tolist()))

    def __repr__(self) -> str:
        return f"ExactMatrix {self.shape[0]} x {self.shape[1]}, denominator {self.denominator}"


def exact(rows: Iterable[Iterable[Rational]]) -> ExactMatrix:
    """The matrix with these rows of integers and Fractions."""
    entries = [list(row) for row in rows]
    common = lcm(*{entry.denominator for row in entries for entry in row})
    integers = [[entry.numerator * (common // entry.denominator) for entry in row] for row in entries]
    numerators = np.array(integers, object).reshape(len(integers), len(integers[0]) if integers else 0)
    return ExactMatrix(numerators, common)


def zeros(rows: int, columns: int) -> ExactMatrix:
    """All entries 0."""
    return ExactMatrix(np.full((rows, columns), 0, object))


def identity(size: int) -> ExactMatrix:
    """1 on the diagonal."""
    return block_diagonal([exact([[1]])] * size)


def stacked(parts: Sequence[ExactMatrix]) -> ExactMatrix:
    """The rows of all parts, one part below the other."""
    common = lcm(*(part.denominator for part in parts))
    return ExactMatrix(np.concatenate([part.numerators * (common // part.denominator) for part in parts]), common)


def block_diagonal(parts: Sequence[ExactMatrix]) -> ExactMatrix:
    """The parts down the diagonal, zeros elsewhere."""
    common = lcm(*(part.denominator for part in parts))
    whole = np.full((sum(part.shape[0] for part in parts), sum(part.shape[1] for part in parts)), 0, object)
    row = column = 0
    for part in parts:
        rows, columns = part.shape
        whole[row : row + rows, column : column + columns] = part.numerators * (common // part.denominator)
        row, column = row + rows, column + columns
    return ExactMatrix(whole, common)


def solve(matrix: ExactMatrix, right: ExactMatrix) -> ExactMatrix | None:
    """The X with matrix @ X = right whose free rows are 0, by Gauss-Jordan elimination; None where there is none."""
    count = matrix.shape[1]
    rows = [a + b for a, b in zip(matrix.rows(), right.rows(), strict=True)]
    pivots: list[int] = []
    for column in range(count):
        done = len(pivots)
        at = next((index for index in range(done, len(rows)) if rows[index][column]), None)
        if at is None:
            continue
        rows[done], rows[at] = rows[at], rows[done]
        scale = rows[done][column]
        rows[done] = [entry / scale for entry in rows[done]]
        for index, row in enumerate(rows):
            if index != done and (factor := row[column]):
                rows[index] = [a - factor * b if b else a for a, b in zip(row, rows[done], strict=True)]
        pivots.append(column)
    if any(any(row[count:]) for row in rows[len(pivots) :]):
        return None
    found = [[Fraction(0)] * right.shape[1] for _ in range(count)]
    for index, column in enumerate(pivots):
        found[column] = rows[index][count:]
    return exact(found)


def _product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The product of two integer matrices: in 64 bits where no partial sum can leave them, else in Python integers."""
    bound = left.shape[1] * max(1, int(abs(left).max())) * max(1, int(abs(right).max()))
    if bound < 2**63:
        return (left.astype(np.int64) @ right.astype(np.int64)).astype(object)
    return left @ right
