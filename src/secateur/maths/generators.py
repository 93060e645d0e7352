"""The blocks between moduli and matrices, over one, two or three dimensions (US20180349317A1; the reading is ours).

    first matrix generator    residues of data and taps in every field, and the product rows there
    second matrix generator   recombination columns: Chinese remainders, and the column of the point at infinity
    third matrix generator    at, g, bt from the two, by transposition: a product of polynomials becomes a correlation

With M the product of the moduli, s = g d has the coefficients sum_i (s_i E_i mod M) + g_(r-1) d_(m-1) M, where
s_i = g d mod m_i and E_i is 1 modulo m_i and 0 modulo the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, reduce
from itertools import product as combinations_of
from math import gcd, prod

from secateur.maths.exact_matrix import ExactMatrix, exact, stacked
from secateur.maths.field_splitting import Products, products_of
from secateur.maths.moduli import LINE, Field, Moduli, fields
from secateur.maths.polynomial import product
from secateur.maths.product_rows import idempotent_columns, remainder_matrix
from secateur.maths.transform import Stage, Transform, along_axes


@dataclass(frozen=True)
class Residues:
    """What the first and second generator say about one dimension.

    fields    the point at infinity counts as a line, Q
    data      conditions x outputs, the residues of the data of the polynomial product
    taps      conditions x taps
    columns   conditions x conditions, column j rebuilds the product's coefficients from residue j
    """

    fields: tuple[Field, ...]
    data: ExactMatrix
    taps: ExactMatrix
    columns: ExactMatrix


@dataclass(frozen=True)
class Algorithm:
    """What the third generator gives: the three transforms, and what is known about the number of products."""

    output_transform: Transform
    filter_transform: Transform
    input_transform: Transform
    known: tuple[str, ...]


def first_matrix_generator(moduli: Moduli, length: int) -> ExactMatrix:
    """Residues of a polynomial of `length` coefficients in every field of the moduli, one below the other."""
    parts = [remainder_matrix(f.polynomial, length) for p in moduli.polynomials for f in fields(p)]
    if moduli.infinity:
        parts.append(exact([[0] * (length - 1) + [1]]))
    return stacked(parts)


@lru_cache(maxsize=64)
def second_matrix_generator(moduli: Moduli) -> ExactMatrix:
    """Columns x^j E_f mod M for every field f, and M itself for the point at infinity; conditions x conditions."""
    whole = product(moduli.polynomials)
    columns = [idempotent_columns(f, whole).transposed() for p in moduli.polynomials for f in fields(p)]
    rows = [row + [Fraction(0)] * moduli.infinity for part in columns for row in part.rows()]
    if moduli.infinity:
        rows.append(list(whole.coefficients))
    return exact(rows).transposed()


def residues(moduli: Moduli, outputs: int, taps: int) -> Residues:
    """First and second generator for one dimension of F(outputs, taps)."""
    found = tuple(f for p in moduli.polynomials for f in fields(p)) + (LINE,) * moduli.infinity
    data, weights = first_matrix_generator(moduli, outputs), first_matrix_generator(moduli, taps)
    return Residues(found, data, weights, second_matrix_generator(moduli))


def third_matrix_generator(axes: Sequence[Residues], *, split: bool) -> Algorithm:
    """The transforms over all axes at once. split: products of two fields fall apart into fields again.

    The rows of bt are integers without a common factor; what that takes from them goes into g.
    """
    parts = _parts([axis.fields for axis in axes], split=split)
    grid = prod(axis.data.shape[0] for axis in axes)
    p = exact([_placed(row, slots, grid) for slots, found in parts for row in found.p.rows()])
    q = exact([_placed(row, slots, grid) for slots, found in parts for row in found.q.transposed().rows()])
    kept = _used(p, axes)
    p, q = p.chosen_rows(kept), q.chosen_rows(kept)
    scales, columns = zip(*map(_integer_columns, axes), strict=True)
    whole = q @ reduce(ExactMatrix.kron, columns)
    contents = [whole.content(row) for row in range(len(kept))]
    of_slot = reduce(lambda done, more: [a * b for a in done for b in more], scales)
    of_product = [of_slot[slots[0]] for slots, found in parts for _ in range(found.products)]
    to_taps = [of_product[t] * content for t, content in zip(kept, contents, strict=True)]
    transforms = [
        _transform(p.transposed(), [axis.data.transposed() for axis in axes], axes_first=False),
        _transform(p.scaled_rows(to_taps), [axis.taps for axis in axes], axes_first=True),
        _transform(q.scaled_rows([1 / content for content in contents]), columns, axes_first=True),
    ]
    output, filter_, input_ = transforms
    return Algorithm(output, filter_, input_, tuple(sorted({found.known for _, found in parts})))


def _used(p: ExactMatrix, axes: Sequence[Residues]) -> list[int]:
    """Products in which both data and taps take part: with few taps some rows see none."""
    data = p @ reduce(ExactMatrix.kron, [axis.data for axis in axes])
    taps = p @ reduce(ExactMatrix.kron, [axis.taps for axis in axes])
    return [t for t in range(p.shape[0]) if data.numerators[t].any() and taps.numerators[t].any()]


def _parts(axes: Sequence[tuple[Field, ...]], *, split: bool) -> list[tuple[list[int], Products]]:
    """Every choice of one field an axis: where its coordinates lie in the grid of all residues, and its products."""
    places = []
    for found in axes:
        starts = [sum(field.degree for field in found[:index]) for index in range(len(found))]
        places.append([(field, range(start, start + field.degree)) for field, start in zip(found, starts, strict=True)])
    sizes = [sum(field.degree for field in found) for found in axes]
    parts = []
    for chosen in combinations_of(*places):
        slots = [0]
        for (_, place), size in zip(chosen, sizes, strict=True):
            slots = [slot * size + index for slot in slots for index in place]
        parts.append((slots, products_of(tuple(field for field, _ in chosen), split=split)))
    return parts


def _placed(row: Sequence[Fraction], slots: Sequence[int], size: int) -> list[Fraction]:
    found = [Fraction(0)] * size
    for slot, entry in zip(slots, row, strict=True):
        found[slot] = entry
    return found


def _integer_columns(axis: Residues) -> tuple[list[Fraction], ExactMatrix]:
    """Recombination, transposed, in integers as small as one factor a field allows; that factor for every residue."""
    rows, scales = axis.columns.transposed(), []
    for field in axis.fields:
        start = len(scales)
        part = rows.chosen_rows(range(start, start + field.degree))
        numerator = gcd(*part.numerators.ravel().tolist())
        scales += [Fraction(numerator, part.denominator)] * field.degree
    return scales, rows.scaled_rows([1 / scale for scale in scales])


def _transform(matrix: ExactMatrix, axes: Sequence[ExactMatrix], *, axes_first: bool) -> Transform:
    """Residues along every axis and the sparse matrix of the products, in the order in which they act."""
    along = along_axes([Transform((Stage(axis),)) for axis in axes]).stages
    return Transform((*along, Stage(matrix)) if axes_first else (Stage(matrix), *along))
