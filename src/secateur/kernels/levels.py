"""The weighted average of a weight's quantization-dequantization over bit widths as generated code, one pass each way.

Source: US20200293893A1, US20230004813A1; formulas (our reading) in `secateur.maths.grid`: the average of DQ'. With step
= x_max / Q of the first width, u = |x| / step and r_n = Q_n / Q_first all widths share one division:

    average = step sign(x) m,   m = sum_n p_n / r_n code_n,   code_n = clip(round(r_n u), 1, Q_n)
    d/dx = s,   s = sum of p_n over the widths that do not clip     d/dx_max = sign(x) step (m - s u) / x_max

One width with p = 1 gives code * step, rounded once: exactly what a file gives back.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from secateur.kernels.build import CodeUnit, built
from secateur.kernels.code import Value
from secateur.kernels.lanes import absolute, at_least, at_most, chosen, compared, lanes_of, nearest, with_sign_of
from secateur.kernels.rows import Numbers, RowJob, RowKernel, rows_module
from secateur.kernels.target import Target
from secateur.maths.grid import largest_code

Widths = tuple[int, ...]


def levels_unit(widths: Widths, target: Target) -> CodeUnit:
    """Code of both passes over some widths."""
    made_from = f"{widths} {target.name}"
    return CodeUnit("levels", ("forward", "backward"), made_from, lambda: levels_module(widths, target))


def levels_module(widths: Widths, target: Target) -> str:
    """The passes as functions of one module."""
    return rows_module(_passes(widths), target)


@dataclass(frozen=True)
class Levels:
    """Both passes over some widths, loaded. Dense matrices (rows, columns) of float32 lie at the addresses; x_max > 0,
    the end of the range, is one number or one a row, shares are the p, a number a width."""

    widths: Widths
    forward_job: RowJob
    backward_job: RowJob

    def forward(self, addresses: tuple[int, int], size: int, x_max: Numbers, shares: Sequence[float]) -> None:
        """Writes the average to the second of (x, average), size elements each."""
        self.forward_job(addresses, size, self._constants(x_max, shares))

    def backward(
        self, addresses: tuple[int, int, int], size: int, x_max: Numbers, shares: Sequence[float]
    ) -> tuple[Numbers, list[float]]:
        """Writes the gradient of x to the last of (x, upstream, x_grad), size elements each; gives that of x_max, of
        the one range or one a row, and those of the shares."""
        toward_range, *found = self.backward_job(addresses, size, self._constants(x_max, shares))
        sums = [one if isinstance(one, float) else float(one.sum()) for one in found]
        return toward_range / x_max, [one / ratio for one, ratio in zip(sums, ratios_of(self.widths), strict=True)]

    def _constants(self, x_max: Numbers, shares: Sequence[float]) -> list[Any]:
        step = x_max / largest_code(self.widths[0])
        return [step, *(share / ratio for share, ratio in zip(shares, ratios_of(self.widths), strict=True)), *shares]


@functools.cache
def levels_of(widths: Widths, target: Target) -> Levels:
    """The passes over some widths, from memory, disk or the compiler."""
    library = built(levels_unit(widths, target), target)
    return Levels(widths, *(kernel.loaded(library) for kernel in _passes(widths)))


def _passes(widths: Widths) -> tuple[RowKernel, RowKernel]:
    constants, sums = 1 + 2 * len(widths), 1 + len(widths)
    forward, backward = (functools.partial(step, widths) for step in (_forward_step, _backward_step))
    return (
        RowKernel("forward", ("x",), ("average",), constants, 0, forward),
        RowKernel("backward", ("x", "upstream"), ("x_grad",), constants, sums, backward),
    )


def ratios_of(widths: Widths) -> list[float]:
    """r_n of all widths."""
    return [largest_code(bits) / largest_code(widths[0]) for bits in widths]


def _codes(widths: Widths, u: Value) -> list[Value]:
    f, lanes = u.code, lanes_of(u)
    one = f.splat(1.0, lanes)
    found = []
    for bits, ratio in zip(widths, ratios_of(widths), strict=True):
        code = at_least(nearest(u * f.splat(ratio, lanes)), one)
        found.append(at_most(code, f.splat(float(largest_code(bits)), lanes)))
    return found


def mean_of(codes: Sequence[Value], weights: Sequence[Value]) -> Value:
    """m, of the codes of all widths."""
    mean = codes[0] * weights[0]
    for code, weight in zip(codes[1:], weights[1:], strict=True):
        mean = code.code.fma(code, weight, mean)
    return mean


def _forward_step(
    widths: Widths, constants: Sequence[Value], inputs: Sequence[Value]
) -> tuple[list[Value], list[Value]]:
    (step, *numbers), (x,) = constants, inputs
    u = x.code.arithmetic("div", absolute(x), step)
    mean = mean_of(_codes(widths, u), numbers[: len(widths)])
    return [with_sign_of(mean * step, x)], []


def _backward_step(
    widths: Widths, constants: Sequence[Value], inputs: Sequence[Value]
) -> tuple[list[Value], list[Value]]:
    (step, *numbers), (x, upstream) = constants, inputs
    weights, shares = numbers[: len(widths)], numbers[len(widths) :]
    u = x.code.arithmetic("div", absolute(x), step)
    codes = _codes(widths, u)
    pull = with_sign_of(step, x) * upstream
    inside = _inside(widths, u, shares)
    toward_range = (mean_of(codes, weights) - inside * u) * pull
    return [inside * upstream], [toward_range, *(code * pull for code in codes)]


def _inside(widths: Widths, u: Value, shares: Sequence[Value]) -> Value:
    """s; round(Q + 1/2) is Q + 1, Q being odd. Where no width clips it is 1, not the shares' sum, which is rounded."""
    f, lanes = u.code, lanes_of(u)
    zero = f.splat(0.0, lanes)
    ends = [(largest_code(bits) + 0.5) / ratio for bits, ratio in zip(widths, ratios_of(widths), strict=True)]
    kept = zero
    for end, share in zip(ends, shares, strict=True):
        kept = kept + chosen(compared("olt", u, f.splat(end, lanes)), share, zero)
    return chosen(compared("oge", u, f.splat(min(ends), lanes)), kept, f.splat(1.0, lanes))
