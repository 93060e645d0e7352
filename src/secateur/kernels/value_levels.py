"""The weighted average of a weight over grid values as generated code, one pass each way.

Source: US20200293893A1, US20230004813A1; formulas (our reading) in `secateur.maths.value_grid`. All widths share one
division, as in `kernels.levels`: v_n = r_n u. Of each grid the four values round v count, k - 1 to k + 2 with k = floor
v. With y = v - k - 1/2, q = exp(y / T) and c = exp(-2 / T) they weigh c q^-3, q^-1, q, c q^3: one exponential a width.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from secateur.kernels.build import CodeUnit, built
from secateur.kernels.code import Value
from secateur.kernels.lanes import (
    absolute,
    at_least,
    at_most,
    chosen,
    compared,
    floor,
    lanes_of,
    power_of_two,
    with_sign_of,
)
from secateur.kernels.levels import Widths, mean_of, ratios_of
from secateur.kernels.rows import Numbers, RowJob, RowKernel, rows_module
from secateur.kernels.target import Target
from secateur.maths.grid import largest_code

REACH = 15.0
"""|y| / T that counts, at most: farther on the second nearest weighs exp(-30), and float32 holds all four."""


def value_levels_unit(widths: Widths, target: Target) -> CodeUnit:
    """Code of both passes over some widths."""
    made_from = f"{widths} {target.name}"
    return CodeUnit("values", ("forward", "backward"), made_from, lambda: value_levels_module(widths, target))


def value_levels_module(widths: Widths, target: Target) -> str:
    """The passes as functions of one module."""
    return rows_module(_passes(widths), target)


@dataclass(frozen=True)
class ValueLevels:
    """Both passes over some widths, loaded; matrices and numbers as in `kernels.levels.Levels`, and the temperature."""

    widths: Widths
    forward_job: RowJob
    backward_job: RowJob

    def forward(
        self, addresses: tuple[int, int], size: int, x_max: Numbers, weights: tuple[Sequence[float], float]
    ) -> None:
        """Writes the average to the second of (x, average), size elements each. weights: (shares, temperature)."""
        self.forward_job(addresses, size, self._constants(x_max, *weights))

    def backward(
        self, addresses: tuple[int, int, int], size: int, x_max: Numbers, weights: tuple[Sequence[float], float]
    ) -> tuple[Numbers, list[float]]:
        """Writes the gradient of x to the last of (x, upstream, x_grad), size elements each; gives that of x_max, of
        the one range or one a row, and those of the shares."""
        toward_range, *found = self.backward_job(addresses, size, self._constants(x_max, *weights))
        sums = [one if isinstance(one, float) else float(one.sum()) for one in found]
        return toward_range / x_max, [one / ratio for one, ratio in zip(sums, ratios_of(self.widths), strict=True)]

    def _constants(self, x_max: Numbers, shares: Sequence[float], temperature: float) -> list[Any]:
        step = x_max / largest_code(self.widths[0])
        warmth = [1 / (temperature * math.log(2)), REACH * temperature, math.exp(-2 / temperature), 2 / temperature]
        counted = (share / ratio for share, ratio in zip(shares, ratios_of(self.widths), strict=True))
        return [step, *warmth, *counted, *shares]


@functools.cache
def value_levels_of(widths: Widths, target: Target) -> ValueLevels:
    """The passes over some widths, from memory, disk or the compiler."""
    library = built(value_levels_unit(widths, target), target)
    return ValueLevels(widths, *(kernel.loaded(library) for kernel in _passes(widths)))


def _passes(widths: Widths) -> tuple[RowKernel, RowKernel]:
    constants, sums = 5 + 2 * len(widths), 1 + len(widths)
    forward, backward = (functools.partial(step, widths) for step in (_forward_step, _backward_step))
    return (
        RowKernel("forward", ("x",), ("average",), constants, 0, forward),
        RowKernel("backward", ("x", "upstream"), ("x_grad",), constants, sums, backward),
    )


@dataclass(frozen=True)
class _Soft:
    """s and sum_k pi_k (k - s)^2 of one width; None where there is one value alone, and nothing varies."""

    mean: Value
    variance: Value | None


def _soft(v: Value, largest: int, warmth: Sequence[Value]) -> _Soft:
    f, lanes = v.code, lanes_of(v)
    slope, reach, far, _ = warmth

    def number(x: float) -> Value:
        return f.splat(x, lanes)

    if largest == 1:
        return _Soft(at_most(at_least(v, number(1.0)), number(1.0)), None)  # NaN stays NaN
    k = at_most(at_least(floor(v), number(1.0)), number(largest - 1.0))
    y = v - k - number(0.5)
    y = at_least(at_most(y, reach), number(0.0) - reach)
    q = power_of_two(y * slope)
    inverse = f.arithmetic("div", number(1.0), q)
    below = chosen(compared("ogt", k, number(1.0)), inverse * inverse * inverse * far, number(0.0))
    above = chosen(compared("ole", k, number(largest - 2.0)), q * q * q * far, number(0.0))
    whole = f.arithmetic("div", number(1.0), below + inverse + q + above)
    offset = (q + above + above - below) * whole
    four = above + above
    return _Soft(k + offset, (q + four + four + below) * whole - offset * offset)


def _softs(widths: Widths, u: Value, warmth: Sequence[Value]) -> list[_Soft]:
    f, lanes = u.code, lanes_of(u)
    rows = zip(widths, ratios_of(widths), strict=True)
    return [_soft(u * f.splat(ratio, lanes), largest_code(bits), warmth) for bits, ratio in rows]


def _forward_step(
    widths: Widths, constants: Sequence[Value], inputs: Sequence[Value]
) -> tuple[list[Value], list[Value]]:
    (step, *numbers), (x,) = constants, inputs
    u = x.code.arithmetic("div", absolute(x), step)
    means = [soft.mean for soft in _softs(widths, u, numbers[:4])]
    return [with_sign_of(mean_of(means, numbers[4 : 4 + len(widths)]) * step, x)], []


def _backward_step(
    widths: Widths, constants: Sequence[Value], inputs: Sequence[Value]
) -> tuple[list[Value], list[Value]]:
    (step, *numbers), (x, upstream) = constants, inputs
    warmth, weights, shares = numbers[:4], numbers[4 : 4 + len(widths)], numbers[4 + len(widths) :]
    u = x.code.arithmetic("div", absolute(x), step)
    softs = _softs(widths, u, warmth)
    pull = with_sign_of(step, x) * upstream
    slope = x.code.splat(0.0, lanes_of(x))
    for soft, share in zip(softs, shares, strict=True):
        if soft.variance is not None:
            slope = x.code.fma(soft.variance, share, slope)
    slope = slope * warmth[3]
    means = [soft.mean for soft in softs]
    toward_range = (mean_of(means, weights) - slope * u) * pull
    return [slope * upstream], [toward_range, *(mean * pull for mean in means)]
