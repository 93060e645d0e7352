"""How many weights each layer keeps, from formulas that need no training: scores that compare across layers.

A score is one number a weight; the weights with the largest scores of all layers stay. So one sorted list serves every
target, and a layer's density is what falls out of it.

Sources: Lee, Park, Mo, Ahn, Shin, "Layer-adaptive sparsity for the magnitude-based pruning" (LAMP), arXiv 2010.07611,
equation 1. Evci, Gale, Menick, Castro, Elsen, "Rigging the lottery" (RigL), arXiv 1911.11134, section 3, for the
Erdos-Renyi-kernel densities (ERK). The marginal cost of a weight on a measured curve is our reading of a Lagrangian
with one multiplier for all layers (Everett, Operations Research 11, 1963).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Int


def ranks(score: Float[np.ndarray, "*shape"]) -> Int[np.ndarray, "*shape"]:
    """Place of every weight within its layer: 0 has the largest score, equal ones stand in the order of their index."""
    flat = score.ravel()
    places = np.empty(flat.size, np.int64)
    places[np.argsort(-flat, kind="stable")] = np.arange(flat.size)
    return places.reshape(score.shape)


def magnitude(w: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """|w|: the largest weights of the whole network stay."""
    return np.abs(w.astype(np.float64))


def standardized(w: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """|w| in standard deviations of the layer's weights, finite where these are all the same."""
    size, number = magnitude(w), np.finfo(np.float64)
    least = max(float(number.eps * size.max(initial=0.0)), float(number.tiny))
    return size / max(float(w.astype(np.float64).std()), least)


def lamp(w: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """w^2 over the sum of v^2 of all weights v of the layer that are not smaller: the share of what is left that goes
    with it (arXiv 2010.07611, equation 1). The largest weight of every layer has score 1."""
    places = ranks(magnitude(w)).ravel()
    squares = w.astype(np.float64).ravel() ** 2
    order = np.argsort(places)
    total = np.cumsum(squares[order])
    return np.divide(squares, total[places], out=np.zeros_like(squares), where=squares > 0).reshape(w.shape)


def erk(w: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Layer densities in proportion to (sum of the tensor's extents) / (product of them), at most 1; the largest |w|
    within the layer (arXiv 1911.11134, section 3)."""
    share = sum(w.shape) / w.size
    return share * w.size / (1.0 + ranks(magnitude(w)))


SCORES = {"magnitude": magnitude, "standardized": standardized, "lamp": lamp, "erk": erk}
"""Name -> score of a layer's weights from nothing but the weights."""


def marginal_costs(
    kept: Float[np.ndarray, " points"], cost: Float[np.ndarray, " points"], size: int
) -> Float[np.ndarray, " size"]:
    """What the loss of one more weight costs, for the first, second, ... weight of a layer, from a measured curve.

    kept  numbers of weights with which the cost was measured, ascending from 0 to size; cost: what was measured there
    The curve is replaced by its lower convex hull, whose slopes are interpolated between the middles of its segments.
    The result falls strictly, so that keeping the weights with the largest marginal costs of all layers is the exact
    optimum for the interpolated curves, and never takes a later weight of a layer before an earlier one.
    """
    points = _lower_hull(kept, np.minimum.accumulate(np.maximum(cost, 0.0)))
    x, y = points[:, 0], points[:, 1]
    slopes = (y[:-1] - y[1:]) / np.diff(x)
    places = np.arange(size) + 0.5
    found = np.interp(places, (x[:-1] + x[1:]) / 2, slopes)
    left = 1.0 - places / size
    return found * (1 + 1e-9 * left) + 1e-30 * left


def _lower_hull(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Corners of the lower convex hull, by Andrew's monotone chain."""
    hull: list[tuple[float, float]] = []
    for point in zip(x.tolist(), y.tolist(), strict=True):
        while len(hull) > 1 and _turns_down(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    return np.array(hull)


def _turns_down(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    return (b[1] - a[1]) * (c[0] - a[0]) >= (c[1] - a[1]) * (b[0] - a[0])
