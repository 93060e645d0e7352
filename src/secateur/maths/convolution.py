"""`convolution`: an exact convolution algorithm by name, over one, two or three dimensions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from secateur.errors import AlgorithmError
from secateur.maths.bilinear import Bilinear
from secateur.maths.choosing import Wish, best
from secateur.maths.moduli import Point, moduli_of_points
from secateur.maths.nesting import Wanted, convolution_generator

MOST_TAPS = MOST_OUTPUTS = 64
Extent = int | tuple[int, ...]


def convolution(
    outputs: Extent,
    taps: Extent,
    *,
    moduli: Wanted | None = None,
    points: Iterable[Point] | None = None,
    wish: Wish | None = None,
) -> Bilinear:
    """The exact algorithm F(outputs, taps).

    outputs, taps   an integer, or a tuple of an extent a dimension (one to three)
    moduli          "x, x^6-1": co-prime polynomials of the family x, x^n-1, x^n+1, x-p, the same in every dimension, or
                    " | " between different ones; the point at infinity "inf" is added where one condition is missing
    wish            what it must meet, where neither is named: fewest products (the default), an error, integers
    points          (0, 1, -1, 2, -2) or ("3/5", ...): evaluation points of Toom and Cook instead

    AlgorithmError says which moduli share a factor, which point is repeated, or how many conditions are missing.
    """
    m, r = _extents(outputs, taps)
    if sum(given is not None for given in (moduli, points, wish)) > 1:
        raise AlgorithmError("name one of moduli, such as 'x, x^6-1', points, such as (0, 1, -1), and a wish")
    if moduli is None and points is None:
        return best(m, r, wish or Wish())
    return convolution_generator(m, r, _by_dimension(moduli if points is None else moduli_of_points(points), len(m)))


def _by_dimension(moduli: Wanted | None, dimensions: int) -> Sequence[Wanted]:
    parts = moduli.split("|") if isinstance(moduli, str) else [tuple(moduli or ())]
    if len(parts) not in (1, dimensions):
        raise AlgorithmError(f"{len(parts)} sets of moduli for {dimensions} dimensions: give one, or one a dimension")
    return list(parts) * (dimensions // len(parts))


def _extents(outputs: Extent, taps: Extent) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Both as tuples of one length, checked."""
    both = [extent if isinstance(extent, tuple) else (extent,) for extent in (outputs, taps)]
    length = max(map(len, both))
    m, r = (extent * length if len(extent) == 1 else extent for extent in both)
    for what, extent, most in (("outputs", m, MOST_OUTPUTS), ("taps", r, MOST_TAPS)):
        for size in extent:
            if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= most:
                raise AlgorithmError(f"{what}={size!r}: an extent is an integer from 1 to {most}")
    if len(m) != len(r) or not 1 <= len(m) <= 3:
        raise AlgorithmError(f"outputs {m} and taps {r}: give both one extent a dimension, for one to three dimensions")
    return m, r
