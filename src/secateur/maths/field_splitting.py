"""The products of a tensor product of fields, one field a dimension: nested, or split into fields again where that is
less. Ours: (x^2 + 1)(y^2 + 1) in two dimensions is two fields, not one block of 3 x 3 products: 6 products, not 9.

Q(a) (x) Q(b) for roots of unity a, b of orders A and B is a sum of phi(A) phi(B) / phi(L) copies of the field of order
L = lcm(A, B): in each copy x becomes z^(i L/A) and y becomes z^(j L/B), z a root of order L and i, j prime to A and B.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from math import gcd, lcm

from secateur.maths.exact_matrix import ExactMatrix, block_diagonal, exact, identity, solve, stacked
from secateur.maths.moduli import Field, cyclotomic
from secateur.maths.polynomial import power
from secateur.maths.product_rows import field_rows


@dataclass(frozen=True)
class Products:
    """p (products x dimension) and q (dimension x products) of an algebra, as in `product_rows`."""

    p: ExactMatrix
    q: ExactMatrix
    known: str

    @property
    def products(self) -> int:
        """Multiplications of two numbers."""
        return self.p.shape[0]


@lru_cache(maxsize=1024)
def products_of(fields: tuple[Field, ...], *, split: bool) -> Products:
    """The products for one field a dimension; coordinates are ordered as an array of their degrees."""
    nested = reduce(_nested, map(_of_field, fields))
    if not split:
        return nested
    proper = [field for field in fields if field.degree > 1]
    if len(proper) != 2:
        return nested
    # A line beside the two adds a factor of one coordinate: nothing changes.
    found = _split(*proper)
    return min((nested, found), key=lambda one: one.products)


@lru_cache(maxsize=256)
def splitting(one: Field, two: Field) -> tuple[Field, ExactMatrix]:
    """The field whose copies the product of two cyclotomic fields is, and the map to the coordinates of all copies."""
    order = lcm(one.order, two.order)
    target = Field(cyclotomic(order), order)
    maps = [_map(one, two, target, i, j) for i, j in _copies(one.order, two.order)]
    return target, stacked(maps)


def _split(one: Field, two: Field) -> Products:
    target, forward = splitting(one, two)
    backward = solve(forward, identity(forward.shape[0]))
    if backward is None:
        raise AssertionError(f"{one} and {two} do not split as their orders say")
    rows = field_rows(target)
    copies = forward.shape[0] // target.degree
    return Products(
        block_diagonal([rows.p] * copies) @ forward, backward @ block_diagonal([rows.q] * copies), rows.known
    )


def _of_field(field: Field) -> Products:
    rows = field_rows(field)
    return Products(rows.p, rows.q, rows.known)


def _nested(one: Products, two: Products) -> Products:
    known = one.known if two.p.shape == (1, 1) else two.known if one.p.shape == (1, 1) else _both(one.known, two.known)
    return Products(one.p.kron(two.p), one.q.kron(two.q), known)


def _copies(a: int, b: int) -> Sequence[tuple[int, int]]:
    """One pair (i, j) of each orbit under the automorphisms of the field of order lcm(a, b)."""
    order, seen, found = lcm(a, b), set(), []
    for i in (i for i in range(a) if gcd(i, a) == 1):
        for j in (j for j in range(b) if gcd(j, b) == 1):
            if (i, j) not in seen:
                found.append((i, j))
                seen |= {(u * i % a, u * j % b) for u in range(order) if gcd(u, order) == 1}
    return found


def _map(one: Field, two: Field, target: Field, i: int, j: int) -> ExactMatrix:
    """x^s y^t -> z^(s i L/a + t j L/b), as a matrix of coordinates."""
    step_x, step_y = i * target.order // one.order, j * target.order // two.order
    images = [
        (power((s * step_x + t * step_y) % target.order) % target.polynomial).padded(target.degree)
        for s in range(one.degree)
        for t in range(two.degree)
    ]
    return exact(images).transposed()


def _both(one: str, two: str) -> str:
    return one if one == two else f"{one}; {two}"
