"""A convolution algorithm as one exact value: y = at ((g w) * (bt x)), where * multiplies element by element.

Indices are flattened multi-indices, so that algorithms over one, two and three dimensions are the same kind of value.
It is a convolution, in the sense of neural networks (a correlation), exactly where

    sum_t at[i,t] g[t,k] bt[t,j] = [j == i + k componentwise]        for all i, k, j,

which `proves` decides, never by sampling.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property, reduce
from itertools import islice
from math import isqrt, prod
from typing import Any

import numpy as np

from secateur.errors import AlgorithmError
from secateur.maths.exact_matrix import ExactMatrix
from secateur.maths.float_error import FloatError, Sample, measured
from secateur.maths.matrix_json import (
    check_keys,
    plain_matrix,
    plain_transform,
    read_dict,
    read_extents,
    read_list,
    read_matrix,
    read_object,
    read_recipe,
    read_text,
    read_transform,
)
from secateur.maths.source import c_source, numpy_source
from secateur.maths.straight_line import StraightLine
from secateur.maths.transform import Transform

JSON_VERSION = 1
MOST_IDENTITY = 2**24  # entries of the identity that is proved: taps x outputs x inputs
MOST_PROOF = 2**36  # multiplications of a proof: some ten seconds
PRIME_BITS = 20  # what a prime of the proof is worth, at least
MATRICES = ("at", "g", "bt")
TRANSFORMS = ("output_transform", "filter_transform", "input_transform")


@dataclass(frozen=True)
class Adds:
    """Additions of each transform for one tile, common subexpressions shared."""

    output: int
    filter: int
    input: int

    @property
    def tile(self) -> int:
        """What every tile costs; the filter transform is done once."""
        return self.output + self.input


@dataclass(frozen=True)
class Bilinear:
    """One algorithm F(outputs, taps), an extent a dimension.

    at        outputs x products, the output transform
    g         products x taps, the filter transform
    bt        products x inputs, the input transform; inputs = outputs + taps - 1 in every dimension
    recipe    the moduli it was made from, dimensions separated by " | "
    known     what is known about the number of products
    output_transform, filter_transform, input_transform   at, g and bt as products of sparse factors
    axes      the algorithms of the single dimensions where the whole is their nesting, else ()
    """

    at: ExactMatrix
    g: ExactMatrix
    bt: ExactMatrix
    outputs: tuple[int, ...]
    taps: tuple[int, ...]
    recipe: str
    known: tuple[str, ...]
    output_transform: Transform
    filter_transform: Transform
    input_transform: Transform
    axes: tuple[Bilinear, ...] = ()

    @property
    def products(self) -> int:
        """Multiplications of a tile and channel: the length of the element-wise product."""
        return self.g.shape[0]

    @property
    def inputs(self) -> tuple[int, ...]:
        """Extents of the input tile."""
        return tuple(m + r - 1 for m, r in zip(self.outputs, self.taps, strict=True))

    @property
    def name(self) -> str:
        """F(6,3) in one dimension, F(6x6,3x3) in two."""
        return f"F({'x'.join(map(str, self.outputs))},{'x'.join(map(str, self.taps))})"

    @property
    def gain(self) -> float:
        """How many times fewer multiplications than the direct sum."""
        return prod(self.outputs) * prod(self.taps) / self.products

    @property
    def integer(self) -> bool:
        """Whether at and bt hold integers only: exact on integer data, taps apart."""
        return self.at.denominator == self.bt.denominator == 1

    @cached_property
    def adds(self) -> Adds:
        """Additions of the three transforms."""
        return Adds(self.output_transform.adds, self.filter_transform.adds, self.input_transform.adds)

    @cached_property
    def condition(self) -> float:
        """The largest growth of an error: max_i sum_t |at[i,t]| sum_k |g[t,k]| sum_j |bt[t,j]|, over the same number of
        the direct sum, which is the number of taps (1 is best)."""
        at, g, bt = (abs(np.asarray(matrix, np.float64)) for matrix in (self.at, self.g, self.bt))
        return float((at @ (g.sum(1) * bt.sum(1))).max() / prod(self.taps))

    def proves(self) -> bool:
        """Whether this computes the convolution, and its transforms are its matrices; decided exactly."""
        if not self._fits():
            return False
        same = (
            self.output_transform.matrix == self.at
            and self.filter_transform.matrix == self.g
            and self.input_transform.matrix == self.bt
        )
        return same and self._nests() and self._identity_holds()

    def __call__(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        """One tile: x of shape `inputs` and w of shape `taps` give y of shape `outputs`, in float64."""
        at, g, bt = (np.asarray(matrix, np.float64) for matrix in (self.at, self.g, self.bt))
        return (at @ ((g @ w.ravel()) * (bt @ x.ravel()))).reshape(self.outputs)

    def error(self, dtype: str = "float32", sample: Sample | None = None) -> FloatError:
        """What it loses in "float32", "bfloat16" or "float16": measured on N(0,1) input and He weights (`Sample` says
        how many channels, filters and tiles), and bounded for every input."""
        return measured(self, dtype, sample or Sample())

    def to_json(self) -> str:
        """Text that `from_json` reads back to an equal algorithm; fractions are text, "1/4"."""
        return json.dumps({"secateur_algorithm": JSON_VERSION, **self._plain()}) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Bilinear:
        """The algorithm in a JSON text, proved anew. AlgorithmError for anything else."""
        data = read_object(text)
        if data.pop("secateur_algorithm", None) != JSON_VERSION:
            raise AlgorithmError(f'not an algorithm of version {JSON_VERSION}: it begins {{"secateur_algorithm": ...')
        return cls._of_plain(data)

    def _plain(self) -> dict[str, Any]:
        matrices = {name: plain_matrix(getattr(self, name)) for name in MATRICES}
        transforms = {name: plain_transform(getattr(self, name)) for name in TRANSFORMS}
        axes = [axis._plain() for axis in self.axes]
        facts = {"outputs": self.outputs, "taps": self.taps, "recipe": self.recipe, "known": self.known}
        return {**facts, **matrices, **transforms, "axes": axes}

    @classmethod
    def _of_plain(cls, data: dict[str, Any]) -> Bilinear:
        check_keys(data, {field.name for field in fields(cls)})
        output, filter_, input_ = (read_transform(data[name]) for name in TRANSFORMS)
        at, g, bt = (read_matrix(data[name]) for name in MATRICES)
        outputs, taps = read_extents(data["outputs"]), read_extents(data["taps"])
        known = tuple(map(read_text, read_list(data["known"], most=8)))
        axes = tuple(cls._of_plain(read_dict(axis)) for axis in read_list(data["axes"], most=3))
        recipe = read_recipe(data["recipe"])
        found = cls(at, g, bt, outputs, taps, recipe, known, output, filter_, input_, axes=axes)
        if any(axis.axes for axis in axes):
            raise AlgorithmError("the axes of an algorithm have axes of their own: one dimension each is what nests")
        found._check_provable()
        if not found.proves():
            raise AlgorithmError(f"{found.name} in this file does not compute a convolution: its proof fails")
        return found

    def to_c(self) -> str:
        """C99 source of one tile: the three transforms with shared additions, and `convolution_tile(x, w, y)`."""
        return c_source(self._programs(), self._about())

    def to_numpy(self) -> str:
        """A Python module with the same functions on arrays; it needs numpy alone."""
        return numpy_source(self._programs(), self._about())

    def _programs(self) -> dict[str, StraightLine]:
        return {name: getattr(self, name).program for name in reversed(TRANSFORMS)}

    def _about(self) -> str:
        return f"{self}. Exact over the rationals, proved."

    def __str__(self) -> str:
        return f"{self.name} over {self.recipe}: {self.products} products, {self.gain:.2f}x fewer than direct"

    def _check_provable(self) -> None:
        """AlgorithmError where a proof would take gigabytes or minutes, which no algorithm made here does."""
        cells = prod(self.outputs) * prod(self.taps) * prod(self.inputs)
        parts = (self.at, self.g, self.bt)
        bits = sum(int(abs(part.numerators).max()).bit_length() + part.denominator.bit_length() for part in parts)
        if cells > MOST_IDENTITY or cells * self.products * (1 + bits // PRIME_BITS) > MOST_PROOF:
            raise AlgorithmError(
                f"{self.name} is too large to be proved: split it into dimensions or use smaller tiles"
            )

    def _nests(self) -> bool:
        """Whether the whole is the nesting of its axes, if it has any."""
        if not self.axes:
            return True
        sizes = [size for axis in self.axes for size in zip(axis.outputs, axis.taps, strict=True)]
        for name in MATRICES:
            shapes = [getattr(axis, name).shape for axis in self.axes]
            if getattr(self, name).shape != tuple(map(prod, zip(*shapes, strict=True))):
                return False
        whole = [reduce(ExactMatrix.kron, [getattr(axis, name) for axis in self.axes]) for name in MATRICES]
        return sizes == list(zip(self.outputs, self.taps, strict=True)) and whole == [self.at, self.g, self.bt]

    def _fits(self) -> bool:
        k = self.products
        shapes = (self.at.shape, self.g.shape, self.bt.shape)
        return shapes == ((prod(self.outputs), k), (k, prod(self.taps)), (k, prod(self.inputs)))

    def _identity_holds(self) -> bool:
        """Both sides times the common denominators are integers, so they are equal where they are equal modulo primes
        whose product exceeds the largest possible difference; modulo small primes float64 products are exact."""
        at, g, bt = (matrix.numerators for matrix in (self.at, self.g, self.bt))
        scale = self.at.denominator * self.g.denominator * self.bt.denominator
        bound = self.products * prod(int(abs(part).max()) for part in (at, g, bt)) + scale
        wanted, seen = self._shifts(), 1
        for prime in _primes_below(isqrt(2**53 // max(1, self.products))):
            a, b, c = (np.asarray(part % prime, np.float64) for part in (at, g, bt))
            found = (a[None] * b.T[:, None] % prime) @ c % prime
            if (found != wanted * float(scale % prime)).any():
                return False
            seen *= prime
            if seen > bound:
                return True
        raise AssertionError("more primes than any bound needs")

    def _shifts(self) -> np.ndarray:
        """taps x outputs x inputs: 1 where j == i + k in every dimension."""
        one = [
            np.array([[[j == i + k for j in range(m + r - 1)] for i in range(m)] for k in range(r)], np.float64)
            for m, r in zip(self.outputs, self.taps, strict=True)
        ]
        return reduce(np.kron, one)


def of_transforms(
    output: Transform,
    filter_: Transform,
    input_: Transform,
    sizes: tuple[tuple[int, ...], tuple[int, ...]],
    recipe: str,
    known: tuple[str, ...],
) -> Bilinear:
    """The algorithm whose matrices are those of the transforms; sizes are outputs and taps."""
    outputs, taps = sizes
    matrices = (output.matrix, filter_.matrix, input_.matrix)
    return Bilinear(*matrices, outputs, taps, recipe, known, output, filter_, input_)


def _primes_below(limit: int) -> Iterator[int]:
    """Primes from `limit` downwards."""
    for n in range(limit, 2, -1):
        if n % 2 and all(n % d for d in islice(range(3, isqrt(n) + 1), 0, None, 2)):
            yield n
