"""What the constraints of LagrangeNorm layers add to a loss, with its gradients, as generated code: one pass.

Source: US20200097829A1; formulas (our reading) in `secateur.nn.norms.terms`. Vectors of one number a constraint:
generated because a training step at batch 1 is as long as its calls.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from secateur.kernels.build import CodeUnit, built
from secateur.kernels.code import Value
from secateur.kernels.compiler import Library
from secateur.kernels.lanes import absolute, at_least, at_most, chosen, compared, lanes_of, logarithm, with_sign_of
from secateur.kernels.rows import RowJob, RowKernel, rows_module
from secateur.kernels.target import Target


@dataclass(frozen=True, eq=False)
class Bounds:
    """How far a constraint counts as it is, the largest multiplier, and a multiplier's ascent by a constraint of 1."""

    far: float
    limit: float
    ascent: float
    squared: bool


def norm_terms_unit(bounds: Bounds, target: Target) -> CodeUnit:
    """Code of the pass."""
    return CodeUnit("norm_terms", ("terms",), f"{bounds} {target.name}", lambda: norm_terms_module(bounds, target))


def norm_terms_module(bounds: Bounds, target: Target) -> str:
    """The pass as a function of one module."""
    return rows_module([terms_pass(bounds)], target)


@dataclass(frozen=True)
class NormTerms:
    """The pass, loaded."""

    library: Library
    job: RowJob

    def __call__(self, addresses: tuple[int, int, int, int, int, int], size: int) -> float:
        """Reads (moments, multipliers, wanted, weights), `size` float32 each; writes the gradients of the moments and
        of the multipliers; gives the terms' sum."""
        (found,) = self.job(addresses, size, (1.0,))
        return found


@functools.cache
def norm_terms_of(bounds: Bounds, target: Target) -> NormTerms:
    """The pass, from memory, disk or the compiler."""
    library = built(norm_terms_unit(bounds, target), target)
    return NormTerms(library, terms_pass(bounds).loaded(library))


def terms_pass(bounds: Bounds) -> RowKernel:
    """The pass, to be emitted. Its constant scales the weights."""
    step = functools.partial(_step, bounds)
    return RowKernel("terms", ("moments", "multipliers", "wanted", "weights"), ("slope", "ascent"), 1, 1, step)


def _step(bounds: Bounds, constants: Sequence[Value], inputs: Sequence[Value]) -> tuple[list[Value], list[Value]]:
    (scale,), (moments, multiplier, wanted, weight) = constants, inputs
    weight = weight * scale
    f, lanes = moments.code, lanes_of(moments)
    one, far, limit = (f.splat(number, lanes) for number in (1.0, bounds.far, bounds.limit))
    low = f.splat(0.0 if bounds.squared else -bounds.limit, lanes)
    apart = moments - wanted
    size = absolute(apart)
    beyond = at_least(f.arithmetic("div", size, far), one)
    c = with_sign_of(f.fma(logarithm(beyond), far, at_most(size, far)), apart)
    m = at_most(at_least(multiplier, low), limit)
    if bounds.squared:
        value, slope = c * c, (m + m) * c
        term = m * value
    else:
        near = at_most(at_least(c, -far), far)
        value, slope = c, m + near
        term = f.fma(m, c, near * f.fma(near, f.splat(-0.5, lanes), c))
    gain = at_most(at_least(value, -one), one)
    inwards = chosen(compared("oge", multiplier, limit), at_most(gain, f.splat(0.0, lanes)), gain)
    inwards = chosen(compared("ole", multiplier, low), at_least(gain, f.splat(0.0, lanes)), inwards)
    falling = f.splat(-bounds.ascent, lanes) * weight
    return [f.arithmetic("div", slope * weight, beyond), inwards * falling], [term * weight]
