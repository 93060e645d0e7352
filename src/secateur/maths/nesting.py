"""Convolution generator: moduli to an algorithm, over one dimension, or nested or split over two and three.

`source` emits what it makes as C and numpy (US20180349317A1 names the block; nesting and splitting are ours).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce

from secateur.maths.bilinear import Bilinear, of_transforms
from secateur.maths.exact_matrix import ExactMatrix
from secateur.maths.generators import residues, third_matrix_generator
from secateur.maths.moduli import Point, moduli_of_points, polynomial_generator
from secateur.maths.polynomial import Polynomial
from secateur.maths.transform import along_axes

Wanted = str | Iterable[str | Polynomial]


def of_moduli(outputs: int, taps: int, moduli: Wanted) -> Bilinear:
    """F(outputs, taps) over moduli, as a text "x, x^6-1" or a list."""
    return shortest(split_fields((outputs,), (taps,), (moduli,)))


def of_points(outputs: int, taps: int, points: Iterable[Point]) -> Bilinear:
    """F(outputs, taps) by evaluation and interpolation (Toom, Cook, Winograd): one product a point. The point at
    infinity is added where one point is missing."""
    return of_moduli(outputs, taps, moduli_of_points(points))


def split_fields(outputs: Sequence[int], taps: Sequence[int], moduli: Sequence[Wanted]) -> Bilinear:
    """One algorithm over all dimensions at once, moduli for each.

    Where two fields meet, their product splits into fields again, which takes fewer products than nesting.
    """
    sizes = tuple(outputs), tuple(taps)
    chosen = [polynomial_generator(*one) for one in zip(moduli, *sizes, strict=True)]
    made = third_matrix_generator([residues(*one) for one in zip(chosen, *sizes, strict=True)], split=len(chosen) > 1)
    transforms = (made.output_transform, made.filter_transform, made.input_transform)
    return of_transforms(*transforms, sizes, " | ".join(map(str, chosen)), made.known)


def convolution_generator(outputs: Sequence[int], taps: Sequence[int], moduli: Sequence[Wanted]) -> Bilinear:
    """F(outputs, taps) over moduli for each dimension: split or nested, whichever takes fewer products; nested, where
    both take as many, since that transforms one axis after the other."""
    axes = [of_moduli(*one) for one in zip(outputs, taps, moduli, strict=True)]
    whole = nested(*axes)
    if len(axes) != 2:
        return whole
    found = split_fields(outputs, taps, moduli)
    return found if found.products < whole.products else whole


def shortest(algorithm: Bilinear) -> Bilinear:
    """The same matrices, each as one stage or in the stages it has, whichever takes fewer additions."""
    output, filter_, input_ = (
        one.shortest() for one in (algorithm.output_transform, algorithm.filter_transform, algorithm.input_transform)
    )
    return replace(algorithm, output_transform=output, filter_transform=filter_, input_transform=input_)


def nested(*axes: Bilinear) -> Bilinear:
    """The algorithm over all dimensions of `axes`, the first ones first: transforms act on one axis after the other."""
    if len(axes) == 1:
        return axes[0]
    at, g, bt = (reduce(ExactMatrix.kron, [getattr(axis, name) for axis in axes]) for name in ("at", "g", "bt"))
    transforms = [
        along_axes([getattr(axis, name) for axis in axes])
        for name in ("output_transform", "filter_transform", "input_transform")
    ]
    outputs = tuple(m for axis in axes for m in axis.outputs)
    taps = tuple(r for axis in axes for r in axis.taps)
    known = tuple(sorted({fact for axis in axes for fact in axis.known}))
    recipe = " | ".join(axis.recipe for axis in axes)
    return Bilinear(at, g, bt, outputs, taps, recipe, known, *transforms, axes=axes)
