"""What a convolution algorithm loses in floating point: measured on a sample, and bounded for every input.

The setting is that of a kernel: the filter transform is made once in float64 and rounded; the input and output
transforms run in float32, step by step as their programs say; the operands of the products are rounded to the dtype
asked for; sums over channels are float32. The bound is the standard one, every rounding a factor 1 + d with |d| <= u
(Higham, "Accuracy and stability of numerical algorithms", 2002, section 3.1; for this family Barabasz, Anderson,
Soodhalter and Gregg, "Error analysis and improving the accuracy of Winograd convolution for deep neural networks",
ACM TOMS 2020).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import expm1, prod
from typing import Protocol

import numpy as np

from secateur.errors import AlgorithmError
from secateur.maths.exact_matrix import ExactMatrix
from secateur.maths.transform import Transform


@dataclass(frozen=True)
class Format:
    """How operands are rounded: unit roundoff, half the smallest positive number, and the rounding itself."""

    unit: float
    tiny: float
    round: Callable[[np.ndarray], np.ndarray]


def to_bfloat16(x: np.ndarray) -> np.ndarray:
    """float32 rounded to the nearest number of 8 significant bits, ties to even; kept as float32."""
    bits = np.asarray(x, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return rounded.view(np.float32)


FORMATS = {
    "float32": Format(2**-24, 2**-150, lambda x: x.astype(np.float32)),
    "bfloat16": Format(2**-8, 2**-134, to_bfloat16),
    "float16": Format(2**-11, 2**-25, lambda x: x.astype(np.float16).astype(np.float32)),
}
SINGLE = FORMATS["float32"]


@dataclass(frozen=True)
class FloatError:
    """The loss of one algorithm in one dtype.

    largest   max |y - y64| / max |y64| over the sample
    rms       the same of root mean squares
    bound     |y - y64| <= bound * channels * taps * max |x| * max |w| for every x and w (short of overflow)
    how       what was measured on
    """

    largest: float
    rms: float
    bound: float
    dtype: str
    how: str


class Algorithm(Protocol):
    """What is read of a `Bilinear`."""

    @property
    def g(self) -> ExactMatrix: ...
    @property
    def outputs(self) -> tuple[int, ...]: ...
    @property
    def taps(self) -> tuple[int, ...]: ...
    @property
    def inputs(self) -> tuple[int, ...]: ...
    @property
    def output_transform(self) -> Transform: ...
    @property
    def input_transform(self) -> Transform: ...


@dataclass(frozen=True)
class Sample:
    """x: inputs x tiles x channels, N(0, 1); w: taps x channels x filters, He (variance 2 / (channels * taps))."""

    tiles: int = 64
    channels: int = 64
    filters: int = 16
    seed: int = 0

    def __str__(self) -> str:
        return (
            f"N(0,1) input, He weights, {self.channels} channels, {self.filters} filters, {self.tiles} tiles, "
            f"seed {self.seed}; transforms and sums in float32"
        )


def measured(algorithm: Algorithm, dtype: str, sample: Sample) -> FloatError:
    """The error on a sample, and the bound. AlgorithmError for a dtype that is not in FORMATS."""
    form = format_named(dtype)
    x, w = _drawn(algorithm, form, sample)
    wanted = direct(x.astype(np.float64), w.astype(np.float64), algorithm.outputs, algorithm.taps)
    loss = abs(fast(algorithm, x, w, form) - wanted)
    largest = float(loss.max() / abs(wanted).max())
    rms = float(np.sqrt((loss**2).mean() / (wanted**2).mean()))
    return FloatError(largest, rms, bound(algorithm, dtype, sample.channels), dtype, str(sample))


def fast(algorithm: Algorithm, x: np.ndarray, w: np.ndarray, form: Format) -> np.ndarray:
    """The algorithm on x (inputs x tiles x channels) and w (taps x channels x filters), rounded as a kernel rounds."""
    g = np.asarray(algorithm.g, np.float64)
    weights = form.round(np.tensordot(g, w.astype(np.float64), 1).astype(np.float32))
    data = form.round(algorithm.input_transform(x.astype(np.float32)))
    return algorithm.output_transform(data @ weights).astype(np.float64)


def direct(x: np.ndarray, w: np.ndarray, outputs: tuple[int, ...], taps: tuple[int, ...]) -> np.ndarray:
    """The definition: y[i] = sum over k of w[k] x[i + k], channels summed, as outputs x tiles x filters."""
    inputs = tuple(m + r - 1 for m, r in zip(outputs, taps, strict=True))
    grid, found = x.reshape(*inputs, *x.shape[1:]), np.zeros((prod(outputs), x.shape[1], w.shape[2]))
    for index, k in enumerate(np.ndindex(*taps)):
        window = tuple(slice(start, start + m) for start, m in zip(k, outputs, strict=True))
        found += grid[window].reshape(-1, *x.shape[1:]) @ w[index]
    return found


def growths(at: np.ndarray, g: np.ndarray, bt: np.ndarray) -> np.ndarray:
    """How far independent errors of the products grow, output by output: the root of
    sum_t at[i,t]^2 |g_t|^2 |bt_t|^2. No diagonal scaling changes it."""
    return np.sqrt((at**2) @ ((g**2).sum(1) * (bt**2).sum(1)))


def growth(at: np.ndarray, g: np.ndarray, bt: np.ndarray) -> float:
    """The root mean square of `growths` over the outputs."""
    return float(np.sqrt((growths(at, g, bt) ** 2).mean()))


def bound(algorithm: Algorithm, dtype: str, channels: int) -> float:
    """The a-priori bound of `FloatError`."""
    form = format_named(dtype)
    steps = algorithm.input_transform.roundings() + algorithm.output_transform.roundings() + channels
    # Each operand once to the dtype; the weights' float64 sums and their way through float32 before that.
    growth = expm1(steps * SINGLE.unit + 2 * form.unit + SINGLE.unit + (prod(algorithm.taps) + 2) * 2.0**-53)
    g = abs(np.asarray(algorithm.g, np.float64)).sum(1) + form.tiny / form.unit
    data = algorithm.input_transform.magnitude().sum(1) + form.tiny / form.unit
    whole = algorithm.output_transform.magnitude() @ (g * data)
    return float(growth * whole.max() / prod(algorithm.taps))


def format_named(dtype: str) -> Format:
    """The row of FORMATS."""
    if dtype not in FORMATS:
        raise AlgorithmError(f"no error is known for dtype {dtype!r}: use one of {', '.join(FORMATS)}")
    return FORMATS[dtype]


def _drawn(algorithm: Algorithm, form: Format, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """Input and weights, rounded to the dtype first: what is measured is the algorithm, not the storage."""
    random = np.random.default_rng(sample.seed)
    x = random.standard_normal((prod(algorithm.inputs), sample.tiles, sample.channels))
    w = random.standard_normal((prod(algorithm.taps), sample.channels, sample.filters))
    he = np.sqrt(2 / (sample.channels * prod(algorithm.taps)))
    return form.round(x.astype(np.float32)), form.round((w * he).astype(np.float32))
