"""Diagonal scaling: at D, D^-1 E^-1 g, E bt is the same algorithm for all diagonal D and E, at the same cost.

For integers, columns of at and rows of bt lose their common denominators. For floating point, they get as many entries
+-1 as they can, which saves multiplications, and a largest entry near 1, so that short exponents suffice: over good
points float16 loses half as much, or stays finite at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from math import log2

from secateur.maths.bilinear import Bilinear
from secateur.maths.exact_matrix import ExactMatrix
from secateur.maths.nesting import nested
from secateur.maths.transform import Stage, Transform


def balanced(algorithm: Bilinear) -> Bilinear:
    """The same algorithm, scaled for floating point; nestings axis by axis."""
    if algorithm.axes:
        return nested(*map(balanced, algorithm.axes))
    columns = _scales(algorithm.at.transposed())
    rows = _scales(algorithm.bt)
    return scaled(algorithm, columns, rows)


def integral(algorithm: Bilinear) -> Bilinear:
    """The same algorithm with at and bt in integers without a common factor of a product, the rest in g."""
    if algorithm.axes:
        return nested(*map(integral, algorithm.axes))
    columns, rows = ([1 / m.content(t) for t in range(m.shape[0])] for m in (algorithm.at.transposed(), algorithm.bt))
    return scaled(algorithm, columns, rows)


def scaled(algorithm: Bilinear, columns: Sequence[Fraction], rows: Sequence[Fraction]) -> Bilinear:
    """Product t's column of at times columns[t], its row of bt times rows[t], its row of g over both."""
    taken = [1 / (a * b) for a, b in zip(columns, rows, strict=True)]
    output, filter_, input_ = algorithm.output_transform, algorithm.filter_transform, algorithm.input_transform
    first, *others = output.stages
    output = Transform((_scaled(first.transposed(), columns).transposed(), *others))
    filter_, input_ = (
        Transform((*one.stages[:-1], _scaled(one.stages[-1], by))) for one, by in ((filter_, taken), (input_, rows))
    )
    return replace(
        algorithm,
        at=output.matrix,
        g=filter_.matrix,
        bt=input_.matrix,
        output_transform=output,
        filter_transform=filter_,
        input_transform=input_,
    )


def _scaled(stage: Stage, scales: Sequence[Fraction]) -> Stage:
    return Stage(stage.whole().scaled_rows(scales))


def _scales(matrix: ExactMatrix) -> list[Fraction]:
    """For every row the factor that makes most of its entries +-1, and of those the one that brings its largest entry
    nearest to 1."""
    found = []
    for row in matrix.numerators.tolist():
        times = Counter(abs(entry) for entry in row if entry)
        largest = max(times)
        best = min(times, key=lambda size: (-times[size], abs(log2(largest / size)), size))
        found.append(Fraction(matrix.denominator, best))
    return found
