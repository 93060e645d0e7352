"""Which fast algorithms a layer can choose from: F(m x n, r x s), Toom-Cook per axis, over points that round well,
alone or beside x^2 + 1 or x^6 - 1: one or two products more an axis, and several times less error, so larger tiles."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Protocol

import numpy as np

from secateur.kernels.emitters import emitters
from secateur.kernels.object_cache import read_object, write_object
from secateur.maths.bilinear import Bilinear
from secateur.maths.nesting import nested, of_moduli, of_points
from secateur.maths.points import POINTS_BESIDE, good_points, moduli_beside
from secateur.maths.scaling import balanced

if TYPE_CHECKING:
    from jaxtyping import Float

Pair = tuple[int, int]


LARGEST_OUTPUTS = 8
LONGEST_TILE = 10
"""Inputs of a tile along an axis; beyond, rounding errors leave every class of accuracy."""


EXTRA_PRODUCTS = {"": 0, "x^2+1": 1, "x^6-1": 2}
"""What points stand beside -> the products an axis takes more than inputs: one a conjugate pair of roots."""


@functools.cache
def axis_algorithm(outputs: int, taps: int, beside: str = "") -> Bilinear:
    """F(outputs, taps) in one dimension, over points alone or beside a modulus, scaled so that it multiplies little."""
    if beside:
        return balanced(of_moduli(outputs, taps, moduli_beside(outputs, taps, beside)))
    return balanced(of_points(outputs, taps, good_points(outputs, taps)))


@functools.cache
def plane_algorithm(outputs: Pair, taps: Pair, beside: tuple[str, str] = ("", "")) -> Bilinear:
    """F(outputs, taps) in two dimensions, one algorithm nested in the other."""
    return nested(*map(axis_algorithm, outputs, taps, beside))


class Algorithm(Protocol):
    """What making a fast convolution needs to know."""

    @property
    def outputs(self) -> Pair:
        """Extents of an output tile."""
        ...

    @property
    def taps(self) -> Pair:
        """Extents of the kernel."""
        ...

    @property
    def products(self) -> int:
        """Multiplications of a tile and channel."""
        ...

    @property
    def code_name(self) -> str:
        """Equal for algorithms with equal code, given the source of this package and of maths."""
        ...

    @property
    def exact(self) -> Bilinear:
        """The algorithm itself."""
        ...

    def filter_matrix(self) -> Float[np.ndarray, "products taps"]:
        """g in float64."""
        ...


@dataclass(frozen=True)
class Tiling:
    """F(outputs, taps) of the catalogue; `beside`: what the points of rows and of columns stand beside.

    The exact algorithm is made when needed; compiled code needs it no more.
    """

    outputs: Pair
    taps: Pair
    beside: tuple[str, str] = ("", "")

    @property
    def name(self) -> str:
        """As the exact algorithm is called: F(4x4,3x3), F(4x4,7x7)/x^2+1, or F(8x8,3x3)/points|x^2+1."""
        name = f"F({self.outputs[0]}x{self.outputs[1]},{self.taps[0]}x{self.taps[1]})"
        if any(self.beside):
            name += "/" + "|".join(dict.fromkeys(one or "points" for one in self.beside))
        return name

    @property
    def products(self) -> int:
        """One for every input of a tile, and along each axis what its moduli take more."""
        sizes = zip(self.outputs, self.taps, self.beside, strict=True)
        rows, columns = (m + r - 1 + EXTRA_PRODUCTS[beside] for m, r, beside in sizes)
        return rows * columns

    @property
    def sides(self) -> tuple[tuple[int, str], ...]:
        """Outputs of a tile, and what its points stand beside, axis by axis."""
        return tuple(zip(self.outputs, self.beside, strict=True))

    @property
    def code_name(self) -> str:
        """The name is enough."""
        return self.name

    @property
    def axes(self) -> tuple[Bilinear, Bilinear]:
        """The algorithms of rows and of columns."""
        rows, columns = map(axis_algorithm, self.outputs, self.taps, self.beside)
        return rows, columns

    @property
    def exact(self) -> Bilinear:
        """The nesting of both."""
        return plane_algorithm(self.outputs, self.taps, self.beside)

    def filter_matrix(self) -> Float[np.ndarray, "products taps"]:
        """g in float64, from the file beside compiled code where it is there."""
        key = "filter-" + hashlib.sha256(f"{emitters()} {self.name}".encode()).hexdigest()
        kept = read_object(key)
        if kept is None:
            kept = np.asarray(self.exact.g, np.float64).tobytes()
            write_object(key, kept)
        return np.frombuffer(kept, np.float64).reshape(self.products, -1)


@dataclass(frozen=True)
class Exact:
    """Any two-dimensional algorithm."""

    exact: Bilinear

    @property
    def outputs(self) -> Pair:
        """Extents of an output tile."""
        rows, columns = self.exact.outputs
        return rows, columns

    @property
    def taps(self) -> Pair:
        """Extents of the kernel."""
        rows, columns = self.exact.taps
        return rows, columns

    @property
    def products(self) -> int:
        """Multiplications of a tile and channel."""
        return self.exact.products

    @property
    def code_name(self) -> str:
        """Its transforms, step by step."""
        stages = [*self.exact.input_transform.stages, *self.exact.output_transform.stages]
        return "\n".join([self.exact.name, *(f"{s.before} {s.after} {s.program}" for s in stages)])

    def filter_matrix(self) -> Float[np.ndarray, "products taps"]:
        """g in float64."""
        return np.asarray(self.exact.g, np.float64)


def catalogue(taps: Pair) -> list[Tiling]:
    """What there is for a kernel; an axis with one tap is not tiled.

    F(1x1,1x1) saves no product: it is the direct sum on a copy of the input that lies as a register tile reads it. For
    pixels that lie a power of two apart (1024 channels): they push one another out of the first-level cache.
    """
    axes = []
    for r in taps:
        alone = [1] if r == 1 else [m for m in range(2, LARGEST_OUTPUTS + 1) if m + r - 1 <= LONGEST_TILE]
        beside = [(m, name) for name, sizes in POINTS_BESIDE.items() for m, taps_of in sizes if taps_of == r]
        axes.append([(m, "") for m in alone] + beside)
    return [Tiling((m, n), taps, (over, across)) for (m, over), (n, across) in product(*axes)]
