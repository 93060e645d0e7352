"""The analytic threshold function of self-pruning, its derivatives, and what it costs a tensor to be kept.

Source: US20190180184A1 and US20220129756A1 publish a smooth function that is 0 on an interval round zero and 1 outside
on both sides, with one parameter for the sharpness of both edges (beta) and one for their distance (alpha). The formula

    h(w; alpha, beta) = sigma(beta (w - alpha)) + sigma(-beta (w + alpha))

and everything derived from it here is our reading. It is written in r = |w| / alpha and k = alpha beta, the product
that a schedule controls: h(0) = 2 sigma(-k), so k >= 6 keeps the floor of the dead zone below 0.005.

This file is the definition; `nn.threshold` is its fused realisation in torch and is tested against it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float

TINY_GATE = 1e-7
"""A gate below this is exactly 0: a weight times a tiny gate would be a denormal number, which is slow on every CPU."""
EDGE_CLIP = 2.0
"""w dh/dw reaches k/4 at a sharp edge; beyond this bound it would throw weights across the threshold and back."""
SMALLEST_ALPHA = 1e-30
"""A threshold that underflowed to 0 still divides."""


@dataclass(frozen=True)
class Gate:
    """h and its derivatives at every weight, in the units of `gate`."""

    h: Float[np.ndarray, "*shape"]
    edge: Float[np.ndarray, "*shape"]
    """w dh/dw, which also equals -alpha dh/dalpha at constant k."""
    dh_dk: Float[np.ndarray, "*shape"]


def gate(w: Float[np.ndarray, "*shape"], alpha: float | np.ndarray, k: float | np.ndarray) -> Gate:
    """h(w), w dh/dw and dh/dk for edge distance alpha > 0 (in units of w) and sharpness product k = alpha beta > 0."""
    r = np.abs(np.asarray(w, np.float64)) / alpha
    rising, falling = _sigma(k * (r - 1)), _sigma(-k * (r + 1))
    p, q = rising * (1 - rising), falling * (1 - falling)
    h = rising + falling
    return Gate(np.where(h < TINY_GATE, 0.0, h), k * r * (p - q), (r - 1) * p - (r + 1) * q)


def hard_mask(w: Float[np.ndarray, "*shape"], alpha: float | np.ndarray) -> np.ndarray:
    """The limit of h for beta -> infinity: True where |w| > alpha."""
    return np.abs(w) > alpha


def softplus(x: float | np.ndarray) -> np.ndarray:
    """log(1 + exp(x)), which keeps alpha and the learned part of k positive; no overflow."""
    return np.logaddexp(0.0, x)


def inverse_softplus(y: float) -> float:
    """The x with softplus(x) = y > 0."""
    if y <= 0:
        raise ValueError(f"softplus only reaches positive numbers, got {y}")
    return float(y + np.log(-np.expm1(-y)))


def packed_bits_bound(density: float, value_bits: float) -> float:
    """Bits a weight costs in a file at this density: d (log2(e/d) + value_bits), monotone on 0 < d <= 1 (ours).

    An upper bound on the entropy H2(d) + d value_bits. The exact entropy has its maximum inside (0, 1), at d = 0.8 for
    2-bit values, so a dense start would feel no pull downwards; the bound always pulls.
    """
    return density * (np.log2(np.e / density) + value_bits)


def _sigma(z: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * z))
