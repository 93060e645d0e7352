"""The other reading of "level": a weight as the weighted average of the values of a grid, nearest ones weighing most.

Source: US20200293893A1 and US20230004813A1 publish that every weight that survives pruning is quantized by a weighted
average of its quantization-dequantization over all levels. "Level" as grid value, and every formula here, are our
reading. With Q, D and x_max of `maths.grid` and v = |x| / D:

    V_n(x) = D sign(x) s(v),   s(v) = sum_k pi_k k,   pi = softmax_k(-(v - k)^2 / T),   k = 1 .. Q
    s'(v)  = 2/T sum_k pi_k (k - s)^2
    dV/dx = s'(v)        dV/dx_max = (V - x s'(v)) / x_max        average over widths = sum_n p_n V_n(x)

T is in squares of a step, so that one temperature fits all widths and tensors. Zero is no level of a survivor, and 0
stays 0: cutting is the business of pruning. The derivatives are exact, not straight-through: they vanish between the
edges of two values as T falls, and everywhere where a grid has one value, which is that of two bits.

This file is the definition, over all 2^(n-1) - 1 values; `nn.value_levels` looks at the NEAREST alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from secateur.maths.grid import Average, Level, largest_code, mixed

if TYPE_CHECKING:
    from jaxtyping import Float

NEAREST = 4
"""Values that count, two on either side: at T = WARMEST the first left out weighs exp(-8) of the nearest."""
WARMEST = 0.5
"""The largest T in use: warmer ones would need more values than NEAREST."""


def value_level(x: Float[np.ndarray, "*shape"], x_max: float | np.ndarray, bits: int, temperature: float) -> Level:
    """V_n at every element and its derivatives; x_max > 0 is one number or broadcastable to x."""
    x = np.asarray(x, np.float64)
    step = x_max / largest_code(bits)
    v = np.abs(x) / step
    values = np.arange(1, largest_code(bits) + 1).reshape(-1, *(1,) * x.ndim)
    logits = -((v - values) ** 2) / temperature
    shares = np.exp(logits - logits.max(0))
    shares /= shares.sum(0)
    mean = (shares * values).sum(0)
    slope = 2 / temperature * (shares * (values - mean) ** 2).sum(0)
    value = step * np.sign(x) * mean
    return Level(value, slope, (value - x * slope) / x_max)


def value_average(
    x: Float[np.ndarray, "*shape"],
    x_max: float | np.ndarray,
    shares_of: tuple[Float[np.ndarray, " widths"], float],
    widths: Sequence[int],
    temperature: float,
) -> Average:
    """The weighted average of V_n over the widths, with weights softmax(theta / tau); shares_of is (theta, tau)."""
    return mixed([value_level(x, x_max, bits, temperature) for bits in widths], *shares_of, widths)
