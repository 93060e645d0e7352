"""Quantize-dequantize of feature maps, its average over bit widths, and the derivatives of both.

Source: US20200293893A1 and US20230004813A1 publish that feature maps are quantized as weights are, by a weighted
average of their quantization-dequantization over all levels. "Level" as bit width n, and every formula here, are our
reading; Q_n, p, and the straight-through derivatives are those of `maths.grid`, with two differences:

    v = x / D_n,  D_n = x_max / qmax_n
    DQ_n(x) = D_n clip(floor(v + 1/2), qmin_n, qmax_n)
    signed:   qmax_n = 2^(n-1) - 1, qmin_n = -qmax_n        unsigned, of maps that are never negative: 0 to 2^n - 1

Halves are rounded up, as integer arithmetic does when it shifts an accumulator to the right, and values may become
zero. The derivatives are 1 in x inside the clipping range, where the rounded v is a code, and there code - v in D_n;
beyond it 0, and the code.

This file is the definition; `nn.map_levels` is its fused realisation in torch and is tested against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from secateur.maths.grid import Average, Level, largest_code, mixed

if TYPE_CHECKING:
    from jaxtyping import Float


def codes(bits: int, *, signed: bool) -> tuple[int, int]:
    """(qmin, qmax): the smallest and the largest code of so many bits."""
    largest = largest_code(bits) if signed else (1 << bits) - 1
    return -largest if signed else 0, largest


def map_level(x: Float[np.ndarray, "*shape"], x_max: float, bits: int, *, signed: bool) -> Level:
    """DQ_n. x_max > 0 is the end of the clipping range."""
    (low, high), x = codes(bits, signed=signed), np.asarray(x, np.float64)
    step = x_max / high
    v = x / step
    rounded = np.floor(v + 0.5)
    code = np.clip(rounded, low, high)
    inside = code == rounded
    return Level(step * code, inside.astype(np.float64), (code - np.where(inside, v, 0.0)) / high)


def map_average(
    x: Float[np.ndarray, "*shape"],
    x_max: float,
    theta: Float[np.ndarray, " widths"],
    tau: float,
    widths: Sequence[int],
    *,
    signed: bool,
) -> Average:
    """The weighted average of DQ_n over the widths, with weights softmax(theta / tau)."""
    return mixed([map_level(x, x_max, bits, signed=signed) for bits in widths], theta, tau, widths)
