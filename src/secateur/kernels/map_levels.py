"""Quantize-dequantize of feature maps, averaged over bit widths, as generated code: one pass each way.

Source: US20200293893A1, US20230004813A1; formulas (our reading) in `secateur.maths.map_grid`. With step = x_max / qmax
of the first width, u = x / step and r_n = qmax_n / qmax_first all widths share one division:

    average = step m,   m = sum_n p_n / r_n code_n,   code_n = clip(floor(r_n u + 1/2), qmin_n, qmax_n)
    d/dx = s,   s = sum of p_n over the widths that do not clip     d/dstep = m - s u     d/dp_n = step code_n / r_n

One width gives code * step, rounded once.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from secateur.kernels.build import CodeUnit, built
from secateur.kernels.code import Value
from secateur.kernels.lanes import at_least, at_most, chosen, compared, floor, lanes_of
from secateur.kernels.rows import RowJob, RowKernel, rows_module
from secateur.kernels.target import Target
from secateur.maths.map_grid import codes


@dataclass(frozen=True)
class MapWidths:
    """What a pass is over: widths in bits, and whether maps can be negative."""

    bits: tuple[int, ...]
    signed: bool

    @property
    def ends(self) -> list[tuple[int, int]]:
        """Smallest and largest code of every width."""
        return [codes(bits, signed=self.signed) for bits in self.bits]

    @property
    def ratios(self) -> list[float]:
        """r_n"""
        return [high / self.ends[0][1] for _, high in self.ends]


def map_unit(widths: MapWidths, target: Target) -> CodeUnit:
    """Code of both passes over some widths."""
    made_from = f"{widths} {target.name}"
    return CodeUnit("map_levels", ("forward", "backward"), made_from, lambda: map_module(widths, target))


def map_module(widths: MapWidths, target: Target) -> str:
    """The passes as functions of one module."""
    return rows_module(_passes(widths), target)


@dataclass(frozen=True)
class MapLevels:
    """Both passes over some widths, loaded. `size` elements of float32 lie at every address; step > 0 is that of the
    first width, shares are the p, a number a width."""

    widths: MapWidths
    forward_job: RowJob
    backward_job: RowJob

    def forward(self, addresses: tuple[int, int], size: int, step: float, shares: Sequence[float]) -> None:
        """Writes the average to the second of (x, average)."""
        self.forward_job(addresses, size, self._constants(step, shares))

    def backward(
        self, addresses: tuple[int, int, int], size: int, step: float, shares: Sequence[float]
    ) -> tuple[float, list[float]]:
        """Writes the gradient of x to the last of (x, upstream, x_grad); gives that of the step, and those of the
        shares in units of the step."""
        toward_step, *found = self.backward_job(addresses, size, self._constants(step, shares))
        return toward_step, [one / ratio for one, ratio in zip(found, self.widths.ratios, strict=True)]

    def _constants(self, step: float, shares: Sequence[float]) -> list[Any]:
        return [step, *(share / ratio for share, ratio in zip(shares, self.widths.ratios, strict=True)), *shares]


@functools.cache
def map_levels_of(widths: MapWidths, target: Target) -> MapLevels:
    """The passes over some widths, from memory, disk or the compiler."""
    library = built(map_unit(widths, target), target)
    return MapLevels(widths, *(kernel.loaded(library) for kernel in _passes(widths)))


def _passes(widths: MapWidths) -> tuple[RowKernel, RowKernel]:
    count = len(widths.bits)
    forward, backward = (functools.partial(step, widths) for step in (_forward_step, _backward_step))
    return (
        RowKernel("forward", ("x",), ("average",), 1 + 2 * count, 0, forward),
        RowKernel("backward", ("x", "upstream"), ("x_grad",), 1 + 2 * count, 1 + count, backward),
    )


def _rounded(widths: MapWidths, u: Value) -> list[Value]:
    f, lanes = u.code, lanes_of(u)
    half = f.splat(0.5, lanes)
    return [floor((u * f.splat(ratio, lanes) if ratio != 1 else u) + half) for ratio in widths.ratios]


def _clipped(widths: MapWidths, rounded: Sequence[Value]) -> list[Value]:
    found = []
    for whole, (low, high) in zip(rounded, widths.ends, strict=True):
        f, lanes = whole.code, lanes_of(whole)
        found.append(at_most(at_least(whole, f.splat(float(low), lanes)), f.splat(float(high), lanes)))
    return found


def _mean(found: Sequence[Value], weights: Sequence[Value]) -> Value:
    """m"""
    mean = found[0] * weights[0]
    for code, weight in zip(found[1:], weights[1:], strict=True):
        mean = code.code.fma(code, weight, mean)
    return mean


def _forward_step(
    widths: MapWidths, constants: Sequence[Value], inputs: Sequence[Value]
) -> tuple[list[Value], list[Value]]:
    (step, *numbers), (x,) = constants, inputs
    u = x.code.arithmetic("div", x, step)
    return [_mean(_clipped(widths, _rounded(widths, u)), numbers[: len(widths.bits)]) * step], []


def _backward_step(
    widths: MapWidths, constants: Sequence[Value], inputs: Sequence[Value]
) -> tuple[list[Value], list[Value]]:
    (step, *numbers), (x, upstream) = constants, inputs
    weights, shares = numbers[: len(widths.bits)], numbers[len(widths.bits) :]
    u = x.code.arithmetic("div", x, step)
    rounded = _rounded(widths, u)
    found = _clipped(widths, rounded)
    inside = _inside(widths, (rounded, found), shares)
    toward_step = (_mean(found, weights) - inside * u) * upstream
    return [inside * upstream], [toward_step, *(code * upstream for code in found)]


def _inside(widths: MapWidths, both: tuple[Sequence[Value], Sequence[Value]], shares: Sequence[Value]) -> Value:
    """s. Where the widest does not clip none does, and s is 1, not the shares' sum, which is rounded."""
    f, lanes = shares[0].code, lanes_of(shares[0])
    zero, kept = f.splat(0.0, lanes), f.splat(0.0, lanes)
    held = [compared("oeq", whole, code) for whole, code in zip(*both, strict=True)]
    for one, share in zip(held, shares, strict=True):
        kept = kept + chosen(one, share, zero)
    widest = max(range(len(held)), key=lambda index: widths.bits[index])
    return chosen(held[widest], f.splat(1.0, lanes), kept)
