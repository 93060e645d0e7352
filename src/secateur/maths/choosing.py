"""The best algorithm under a wish: fewest products of all that meet it, the least error among those."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from itertools import product as combinations_of
from math import isfinite, prod

import numpy as np

from secateur.errors import AlgorithmError
from secateur.maths.bilinear import Bilinear
from secateur.maths.family import candidates, count_products
from secateur.maths.float_error import FloatError, Sample, format_named, growth
from secateur.maths.moduli import Moduli
from secateur.maths.nesting import convolution_generator, split_fields
from secateur.maths.scaling import balanced, integral

MOST_COMPARED = 40
EACH = 2


@dataclass(frozen=True)
class Wish:
    """What an algorithm must meet; with nothing asked, the fewest products.

    error      the largest error it may have in `dtype`, as `Bilinear.error(dtype).largest` measures it
    dtype      "float32", "bfloat16" or "float16"
    integers   at and bt hold integers only, so that integer data stays exact
    """

    error: float | None = None
    dtype: str = "float32"
    integers: bool = False

    def __post_init__(self) -> None:
        format_named(self.dtype)
        number = isinstance(self.error, (int, float)) and not isinstance(self.error, bool)
        if self.error is not None and not (number and isfinite(self.error) and self.error > 0):
            raise AlgorithmError(f"Wish(error={self.error!r}): the largest error is a positive number, such as 1e-5")
        if not isinstance(self.integers, bool):
            raise AlgorithmError(f"Wish(integers={self.integers!r}): True or False")


def best(outputs: Sequence[int], taps: Sequence[int], wish: Wish) -> Bilinear:
    """The algorithm of fewest products that meets the wish. AlgorithmError with the smallest error there is, where
    none does.

    Looked at are the best sets of moduli of each single dimension, for each number of products, in all combinations.
    """
    smallest = np.inf
    for moduli in _ranked(outputs, taps, integers=wish.integers):
        found = _scaled(_over(outputs, taps, moduli), integers=wish.integers)
        if wish.integers and not found.integer:
            continue
        if wish.error is None:
            return found
        error = found.error(wish.dtype).largest
        if error <= wish.error:
            return found
        smallest = min(smallest, error)
    raise AlgorithmError(
        f"no algorithm for {outputs} outputs and {taps} taps stays below {wish.error} in {wish.dtype}: the smallest "
        f"error found is {smallest:.2g}; ask for fewer outputs, another dtype or a larger error"
    )


def compared(outputs: Sequence[int], taps: Sequence[int], dtype: str = "float32") -> list[tuple[Bilinear, FloatError]]:
    """The family to choose from, by growing numbers of products, each algorithm with its measured error.

    Where dimensions are alike: the `EACH` sets that grow least for each number of products, the same in all dimensions;
    and the best sets of single dimensions in all combinations. At most `MOST_COMPARED`.
    """
    chosen = _ranked(outputs, taps, integers=False)
    if len(set(zip(outputs, taps, strict=True))) == 1:
        chosen += [(moduli,) * len(outputs) for moduli in _least_growing(outputs[0], taps[0])]
    different = {tuple(sorted(zip(outputs, taps, map(str, moduli), strict=True))): moduli for moduli in chosen}
    fewest = sorted(different.values(), key=lambda moduli: count_products(list(moduli)))[:MOST_COMPARED]
    made = [_scaled(_over(outputs, taps, moduli), integers=False) for moduli in fewest]
    found = [(one, one.error(dtype, Sample(filters=8))) for one in made]
    return sorted(found, key=lambda pair: (pair[0].products, pair[1].largest))


def _over(outputs: Sequence[int], taps: Sequence[int], moduli: Sequence[Moduli]) -> Bilinear:
    return convolution_generator(outputs, taps, [str(one).split(",") for one in moduli])


def _ranked(outputs: Sequence[int], taps: Sequence[int], *, integers: bool) -> list[tuple[Moduli, ...]]:
    """Combinations of the fronts of all dimensions, fewest products first, then least growth."""
    fronts = [_front(m, r, integers=integers) for m, r in zip(outputs, taps, strict=True)]
    rows = [
        (count_products([moduli for moduli, _ in chosen]), prod(growth for _, growth in chosen), index, chosen)
        for index, chosen in enumerate(combinations_of(*fronts))
    ]
    return [tuple(moduli for moduli, _ in chosen) for *_, chosen in sorted(rows, key=lambda row: row[:3])]


def _front(outputs: int, taps: int, *, integers: bool) -> list[tuple[Moduli, float]]:
    """For each number of products the set that grows least, as long as more products grow less."""
    found: list[tuple[Moduli, float]] = []
    for _, growing, moduli in _grown(outputs, taps, integers=integers):
        if not found or growing < found[-1][1]:
            found.append((moduli, growing))
    return found


def _least_growing(outputs: int, taps: int) -> list[Moduli]:
    """For each number of products the sets that grow least, `EACH` of them."""
    groups = groupby(_grown(outputs, taps, integers=False), key=lambda row: row[0])
    return [moduli for _, group in groups for _, _, moduli in islice(group, EACH)]


def _grown(outputs: int, taps: int, *, integers: bool) -> list[tuple[int, float, Moduli]]:
    """Products and growth of every candidate for one dimension, ascending."""
    rows = []
    for moduli in candidates(outputs, taps):
        made = split_fields((outputs,), (taps,), (str(moduli).split(","),))
        at, g, bt = (np.asarray(matrix, np.float64) for matrix in (made.at, made.g, made.bt))
        rows.append((made.products, _range(made) if integers else growth(at, g, bt), moduli))
    return sorted(rows, key=lambda row: row[:2])


def _range(algorithm: Bilinear) -> float:
    """How far integers grow on their way: the largest row sums of both transforms, in integers."""
    both = [(m, [1 / m.content(t) for t in range(m.shape[0])]) for m in (algorithm.at.transposed(), algorithm.bt)]
    at, bt = (abs(np.asarray(matrix.scaled_rows(scales), np.float64)) for matrix, scales in both)
    return float(at.sum(0).max() * bt.sum(1).max())


def _scaled(algorithm: Bilinear, *, integers: bool) -> Bilinear:
    return integral(algorithm) if integers else balanced(algorithm)
