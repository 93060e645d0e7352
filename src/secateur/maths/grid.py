"""Quantize-dequantize on a symmetric grid, its average over bit widths, and the derivatives of both.

Source: US20200293893A1 and US20230004813A1 publish that every weight that survives pruning is quantized by a weighted
average of its quantization-dequantization over all levels, whose parameters are learned. "Level" as bit width n, and
every formula and derivative here, are our reading:

    Q_n = 2^(n-1) - 1,  D_n = x_max / Q_n,  v = x / D_n
    DQ_n(x)  = D_n clip(round v, -Q_n, Q_n)                 zero is on the grid
    DQ'_n(x) = D_n sign(x) clip(round |v|, 1, Q_n)          for survivors: none of them becomes zero, and 0 stays 0
    average  = sum_n p_n DQ_n(x),  p = softmax(theta / tau)

round goes half to even. The derivatives in x and x_max are straight-through: 1 in x inside the clipping range, where
|round v| <= Q_n, and there (code - v) / Q_n in x_max; beyond it 0 and sign(x). So x d/dx + x_max d/dx_max gives DQ
itself, as for every function that scales with both. A zero passes its gradient on, with which a pruned weight can
return. In theta they are exact.

This file is the definition; `nn.levels` is its fused realisation in torch and is tested against it. Feature maps:
`maths.map_grid`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True)
class Level:
    """DQ_n at every element, and its derivatives in x and in x_max."""

    value: Float[np.ndarray, "*shape"]
    dx: Float[np.ndarray, "*shape"]
    dx_max: Float[np.ndarray, "*shape"]


@dataclass(frozen=True)
class Average:
    """The average over widths at every element, its derivatives, and the expected width.

    dtheta      one slice a width in front
    bits        sum_n p_n n; dbits_dtheta: its derivative, one number a width
    """

    value: Float[np.ndarray, "*shape"]
    dx: Float[np.ndarray, "*shape"]
    dx_max: Float[np.ndarray, "*shape"]
    dtheta: Float[np.ndarray, "widths ..."]
    bits: float
    dbits_dtheta: Float[np.ndarray, " widths"]


def largest_code(bits: int) -> int:
    """Q_n = 2^(n-1) - 1, the largest magnitude of a code of so many bits."""
    return (1 << (bits - 1)) - 1


def level(x: Float[np.ndarray, "*shape"], x_max: float | np.ndarray, bits: int, *, survivors: bool = True) -> Level:
    """DQ'_n of survivors, or with survivors=False DQ_n, which rounds small values to zero.

    x_max > 0 is the end of the clipping range, one number or broadcastable to x.
    """
    x, largest = np.asarray(x, np.float64), largest_code(bits)
    step = x_max / largest
    v = x / step
    rounded = np.rint(np.abs(v))
    code = np.sign(x) * np.clip(rounded, 1 if survivors else 0, largest)
    inside = rounded <= largest
    return Level(step * code, inside.astype(np.float64), np.where(inside, (code - v) / largest, np.sign(x)))


def shares(theta: Float[np.ndarray, " widths"], tau: float) -> Float[np.ndarray, " widths"]:
    """p = softmax(theta / tau), tau > 0."""
    z = np.asarray(theta, np.float64) / tau
    p = np.exp(z - z.max())
    return p / p.sum()


def average(
    x: Float[np.ndarray, "*shape"],
    x_max: float | np.ndarray,
    theta: Float[np.ndarray, " widths"],
    tau: float,
    widths: Sequence[int],
) -> Average:
    """The weighted average of DQ'_n over the widths, with weights softmax(theta / tau)."""
    return mixed([level(x, x_max, bits) for bits in widths], theta, tau, widths)


def mixed(levels: Sequence[Level], theta: Float[np.ndarray, " widths"], tau: float, widths: Sequence[int]) -> Average:
    """The weighted average of what the widths give, a Level each."""
    p = shares(theta, tau)
    nothing = np.zeros(np.shape(levels[0].value))
    value = sum((share * one.value for share, one in zip(p, levels, strict=True)), nothing)
    bits = float(p @ np.asarray(widths, np.float64))
    return Average(
        value,
        sum((share * one.dx for share, one in zip(p, levels, strict=True)), nothing),
        sum((share * one.dx_max for share, one in zip(p, levels, strict=True)), nothing),
        np.stack([share * (one.value - value) / tau for share, one in zip(p, levels, strict=True)]),
        bits,
        p * (np.asarray(widths) - bits) / tau,
    )
