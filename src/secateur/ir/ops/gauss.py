"""The complementary error function for arrays: what the exact GELU needs and numpy lacks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.polynomial import chebyshev

if TYPE_CHECKING:
    from jaxtyping import Float

# erfc(z) = t exp(P(t) - z^2) with t = 2 / (2 + z), z >= 0: P is smooth, so few terms do (Numerical Recipes, 6.2.2).
# P is fitted here to the standard library's exact erfc: no table of coefficients to mistype. erfc(26) is 6e-296.
FARTHEST = 26.0
_NEAREST_T = 2 / (2 + FARTHEST)


def _fit(terms: int) -> np.ndarray:
    nodes = chebyshev.chebpts1(terms)
    t = _NEAREST_T + (nodes + 1) / 2 * (1 - _NEAREST_T)
    z = 2 / t - 2
    exponent = [math.log(math.erfc(a)) + a * a - math.log(b) for a, b in zip(z, t, strict=True)]
    return chebyshev.chebfit(nodes, exponent, terms - 1)


_COEFFICIENTS = chebyshev.cheb2poly(_fit(15))


def erfc(x: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """1 - erf(x) in float64, to a relative error below 1e-10 where it is above 1e-290."""
    z = np.minimum(np.abs(np.asarray(x, dtype=np.float64)), FARTHEST)
    t = 2 / (2 + z)
    node = (t - _NEAREST_T) / (1 - _NEAREST_T) * 2 - 1
    exponent = np.full_like(node, _COEFFICIENTS[-1])
    for coefficient in _COEFFICIENTS[-2::-1]:
        exponent *= node
        exponent += coefficient
    tail = t * np.exp(exponent - z * z)
    return np.where(np.asarray(x) < 0, 2 - tail, tail)
