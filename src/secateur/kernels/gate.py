"""The analytic threshold function as generated code: a weight's gates and their derivatives in one pass each.

Source: US20190180184A1, US20220129756A1; formulas (our reading) in `secateur.maths.threshold`. With r = |w| / alpha
both sigmoids share one hyperbolic form, which needs one exponential instead of two:

    h = 1 - g,   g = sinh k / (cosh kr + cosh k) = p d,
    p = 2 sinh(k) exp(-kr),   1/d = 1 + p (coth k + p / (2 sinh k)^2)
    m = sinh kr / (cosh kr + cosh k) = 2 d + g coth k - 1
    dh/dr = k g m          dh/dk = -g (coth k - r m - g)

`nn.fused` binds it as the operator `threshold_gate`, and computes the same with torch's own operators elsewhere.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from secateur.kernels.build import CodeUnit, built
from secateur.kernels.code import Value
from secateur.kernels.lanes import absolute, at_most, chosen, compared, lanes_of, power_of_two, with_sign_of
from secateur.kernels.rows import Numbers, RowJob, RowKernel, rows_module
from secateur.kernels.target import Target
from secateur.maths.threshold import EDGE_CLIP, SMALLEST_ALPHA, TINY_GATE

EPSILON = float(np.finfo(np.float32).eps)
FAR = -1.5 * math.log(EPSILON)
"""-log of p from which on h is 1 in float32 and all derivatives are 0. Weights count as no larger: a number that
underflows is ten times as slow."""


class Constants(NamedTuple):
    """One threshold as the code reads it."""

    alpha: Any
    falling: Any
    """-k / alpha, in powers of two"""
    height: Any
    """log2(2 sinh k), the exponent of p at weight 0"""
    coth: Any
    tail: Any
    """1 / (2 sinh k)^2, or 0 where it is nothing beside coth k: a product that underflows is ten times as slow."""
    farthest: Any
    """|w| from which on h is 1"""
    slope: Any
    """k / alpha"""
    count_grad: Any
    """Gradient of the sum of all gates"""
    count_slope: Any
    """count_grad k / alpha"""


def gate_unit(form: str, target: Target) -> CodeUnit:
    """Code of both passes of one form of `ir.rules.Prune`."""
    return CodeUnit("gate", ("forward", "backward"), f"{form} {target.name}", lambda: gate_module(form, target))


def gate_module(form: str, target: Target) -> str:
    """The passes as functions of one module."""
    return rows_module(_passes(form), target)


def constants(alpha: Numbers, k: Numbers, count_grad: float = 0.0) -> Constants:
    """The constants of one threshold, or of every row's, computed in float64."""
    m = math if isinstance(alpha, float) and isinstance(k, float) else np
    alpha = _divisor(alpha)
    slope, height = k / alpha, 2 * m.sinh(k)
    log_height = m.log(height)
    return Constants(
        alpha=alpha,
        falling=slope / -math.log(2),
        height=log_height / math.log(2),
        coth=1 / m.tanh(k),
        tail=height**-2.0 * (height * EPSILON < 1),
        farthest=(FAR + log_height) * alpha / k,
        slope=slope,
        count_grad=count_grad,
        count_slope=count_grad * slope,
    )


def _divisor(alpha: Numbers) -> Any:
    return max(alpha, SMALLEST_ALPHA) if isinstance(alpha, float) else np.maximum(alpha, SMALLEST_ALPHA)


@dataclass(frozen=True)
class Gate:
    """Both passes of one form, loaded. Dense matrices (rows, columns) of float32 lie at the addresses; alpha, k > 0 are
    one number or one a row."""

    forward_job: RowJob
    backward_job: RowJob

    def forward(self, addresses: tuple[int, int], size: int, thresholds: tuple[Numbers, Numbers]) -> float:
        """Writes w h(w) to the second of (w, pruned), size elements each; gives the sum of h. Straight through, h is
        the hard mask in both."""
        (count,) = self.forward_job(addresses, size, constants(*thresholds))
        return count if isinstance(count, float) else float(count.sum())

    def backward(
        self, addresses: tuple[int, int, int], size: int, thresholds: tuple[Numbers, Numbers], count_grad: float
    ) -> tuple[Numbers, Numbers]:
        """Writes the gradient of w to the last of (w, upstream, w_grad), size elements each; gives those of alpha and
        k, of the one threshold or one a row."""
        edge = constants(*thresholds, count_grad)
        toward_size, toward_g, whole = self.backward_job(addresses, size, edge)
        toward_size = toward_size / edge.alpha
        return -toward_size * edge.slope, toward_g - whole * edge.coth + toward_size


@functools.cache
def gate_of(form: str, target: Target) -> Gate:
    """The passes of a form, from memory, disk or the compiler."""
    library = built(gate_unit(form, target), target)
    return Gate(*(kernel.loaded(library) for kernel in _passes(form)))


def _passes(form: str) -> tuple[RowKernel, RowKernel]:
    forward = functools.partial(_forward_step, hard=form == "straight_through")
    backward = functools.partial(_backward_step, through_h=form != "dense")
    count = len(Constants._fields)
    return (
        RowKernel("forward", ("w",), ("pruned",), count, 1, forward),
        RowKernel("backward", ("w", "upstream"), ("w_grad",), count, 3, backward),
    )


def _fractions(edge: Constants, size: Value) -> tuple[Value, Value]:
    """p and 1/d"""
    f = size.code
    p = power_of_two(f.fma(edge.falling, size, edge.height))
    return p, f.fma(f.fma(edge.tail, p, edge.coth), p, f.splat(1.0, lanes_of(p)))


def _forward_step(
    constants: Sequence[Value], inputs: Sequence[Value], *, hard: bool
) -> tuple[list[Value], list[Value]]:
    edge, (x,) = Constants(*constants), inputs
    f, lanes = x.code, lanes_of(x)
    one, zero = f.splat(1.0, lanes), f.splat(0.0, lanes)
    size = absolute(x)
    if hard:
        h = chosen(compared("ogt", size, edge.alpha), one, zero)
        return [h * x], [f.fma(size * edge.falling, zero, h)]  # what is NaN compares as cut, but must be seen
    p, over_d = _fractions(edge, at_most(size, edge.farthest))
    h = one - f.arithmetic("div", p, over_d)
    h = chosen(compared("ole", h, f.splat(TINY_GATE, lanes)), zero, h)
    return [h * x], [h]


def _backward_step(
    constants: Sequence[Value], inputs: Sequence[Value], *, through_h: bool
) -> tuple[list[Value], list[Value]]:
    edge, (x, upstream) = Constants(*constants), inputs
    f, lanes = x.code, lanes_of(x)
    one = f.splat(1.0, lanes)
    size = at_most(absolute(x), edge.farthest)
    p, over_d = _fractions(edge, size)
    d = f.arithmetic("div", one, over_d)
    g = p * d
    e = f.fma(g, edge.coth, f.fma(d, f.splat(2.0, lanes), f.splat(-1.0, lanes))) * g  # g m, and dh/d|x| = k e / alpha
    edge_size = e * size
    u = f.fma(upstream, x, edge.count_grad)
    u_g = u * g
    if through_h:
        edge_of_h = at_most(edge.slope * edge_size, f.splat(EDGE_CLIP, lanes))
        upstream = ((edge_of_h - g) + one) * upstream
    w_grad = f.fma(with_sign_of(e, x), edge.count_slope, upstream)
    return [w_grad], [u * edge_size, u_g * g, u_g]
