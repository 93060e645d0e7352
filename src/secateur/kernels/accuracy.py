"""How accurate a convolution is: classes a user can ask for, and the measurement that decides."""

from __future__ import annotations

import functools
from dataclasses import replace
from math import inf, prod, sqrt

import numpy as np

from secateur.errors import KernelError
from secateur.kernels.algorithms import Algorithm, Tiling
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.fast import Blocking, blocks_of, fast_weights
from secateur.kernels.memory import aligned
from secateur.kernels.products_stage import summed_channels
from secateur.kernels.runnable import (
    Setting,
    direct_runnable,
    direct_weights,
    fast_runnable,
    padded_bias,
)
from secateur.kernels.shape import ConvShape, convolve
from secateur.kernels.target import Target
from secateur.maths.point_search import growths_of
from secateur.maths.points import points_beside

ACCURACY = {"strict": 3e-6, "default": 1.5e-5, "fast": 1e-4}
"""Class -> the largest max|y - y64| / max|y64| on N(0, 1) input and He weights of the layer's own shape."""
SAMPLE_PIXELS, SAMPLE_CHANNELS = 64, 32
"""The error is measured on at most so many rows and columns of output and so many output channels: it depends on what
is summed, on taps and input channels, which are the layer's own. Pixels count more than channels, as the outputs of a
tile share the rounding of its input."""
SAMPLE_OUTPUTS = SAMPLE_PIXELS**2 * SAMPLE_CHANNELS
"""Where an image of the sample has fewer, it is filled up with images, be it more than the layer has: the largest error
of few outputs is that of one unlucky draw."""
SAMPLE_MARGIN = 1.9
"""What the sample shows counts this much more, so that a class holds on whole layers with data of their own. Both
margins are the largest ratios on 53 layers (2,470 draws; 9 of 10 below 1.31), rounded up. On 30 further layers no
tiling that they admit left its class; one draw of 1,225 was 1.98 times (benchmarks/bench_accuracy.py)."""
WHOLE_MARGIN = 1.5
"""The same for the larger of the errors of the sample and of whole layers (9 of 10 draws below 1.1)."""
WHOLE_OUTPUTS = 100_000
"""Of a layer at least: the largest error of fewer says no more than that of the sample."""
WHOLE_MACS, FEWEST_DRAWS, MOST_DRAWS = 10**9, 2, 8
"""Whole layers are drawn anew until these multiplications, also of transforming weights, are spent; layers of more than
four times as many in an image keep to the sample."""
GROWTH_ERROR = 1.8e-7
"""Error of a sample over growth^2 / taps sqrt(channels summed at a time / 64), the growth that of the output which errs
most: right within a factor of 2, two of three times within 1.3 (643 tilings of 83 layers)."""


def accuracy_limit(name: str, *, also: tuple[str, ...] = ()) -> float:
    """The error a class allows; KernelError for a name that is none. also: what the caller knows besides."""
    if name not in ACCURACY:
        raise KernelError(f"accuracy {name!r} is none of {', '.join((*ACCURACY, *also))}")
    return ACCURACY[name]


def expected_error(algorithm: Tiling, channels: int) -> float:
    """A guess without running anything."""
    grown = prod(map(_growth, algorithm.outputs, algorithm.taps, algorithm.beside))
    summed = min(channels, summed_channels(algorithm.products))
    return GROWTH_ERROR * grown / sqrt(prod(algorithm.taps)) * sqrt(summed / 64)


@functools.cache
def _growth(outputs: int, taps: int, beside: str) -> float:
    return float(growths_of(points_beside(outputs, taps, beside), outputs, taps, beside=beside).max())


def sample_shape(shape: ConvShape) -> ConvShape:
    """The part of a layer on which the error is measured."""
    height, width = (
        min(size, SAMPLE_PIXELS * stride + reach)
        for size, stride, reach in zip((shape.height, shape.width), shape.stride, shape.reach, strict=True)
    )
    channels = min(shape.out_channels, SAMPLE_CHANNELS) if shape.groups == 1 else shape.out_channels
    image = replace(shape, batch=1, height=height, width=width, out_channels=channels)
    return replace(image, batch=max(1, SAMPLE_OUTPUTS // prod(image.output_shape)))


def measured_error(setting: Setting, algorithm: Algorithm | None, limit: float = inf) -> float:
    """max|y - y64| / max|y64| of an algorithm (None: direct) by its own code, with a margin for what is not measured:
    from a sample of the layer and, where that leaves open whether a limit is kept, from whole layers too."""
    sample = sample_error(setting, algorithm)
    error = SAMPLE_MARGIN * sample
    if algorithm is not None and sample <= limit < error:
        error = min(error, WHOLE_MARGIN * max(sample, whole_error(setting, algorithm)))
    return error


def sample_error(setting: Setting, algorithm: Algorithm | None) -> float:
    """The same from a sample alone, without a margin."""
    shape, target = sample_shape(setting.shape), setting.target
    x, weight, wanted = _sample(shape)
    y = aligned(shape.output_shape)
    part, bias = Setting(shape, Epilogue(), target, 1), padded_bias(None, shape, target)
    if algorithm is None:
        made = direct_runnable(part, direct_weights(weight, shape, target), bias)
    else:
        blocking = Blocking(target.rows, blocks_of(shape.out_channels, target.panel), shared=False)
        made = fast_runnable(part, algorithm, blocking, fast_weights(weight, algorithm, target), bias)
    made.run(x.ctypes.data, y.ctypes.data)
    return float(abs(y - wanted).max() / abs(wanted).max())


def whole_error(setting: Setting, algorithm: Algorithm) -> float:
    """The same from all outputs of the layer, the largest of several draws of data; infinite where the layer is too
    small or too large.

    y64 is replaced by the direct sum of the same generator, whose errors are smaller and independent: the difference
    of the two is no less than the error alone, and far cheaper.
    """
    shape, target = setting.shape, setting.target
    image = replace(shape, batch=1)
    if prod(shape.output_shape) < WHOLE_OUTPUTS or image.macs > 4 * WHOLE_MACS:
        return inf
    whole = replace(shape, batch=max(1, min(shape.batch, WHOLE_MACS // image.macs)))
    part, bias = Setting(whole, Epilogue(), target, 1), padded_bias(None, whole, target)
    blocking = Blocking(target.rows, blocks_of(shape.out_channels, target.panel), shared=False)
    cost, largest = whole.macs + algorithm.products * prod(shape.weight_shape), 0.0
    for seed in range(max(FEWEST_DRAWS, min(MOST_DRAWS, WHOLE_MACS // cost))):
        x, weight, wanted = _whole(whole, target, seed)
        y = aligned(whole.output_shape)
        made = fast_runnable(part, algorithm, blocking, fast_weights(weight, algorithm, target), bias)
        made.run(x.ctypes.data, y.ctypes.data)
        largest = max(largest, float(abs(y - wanted).max() / abs(wanted).max()))
    return largest


@functools.lru_cache(maxsize=FEWEST_DRAWS)
def _whole(shape: ConvShape, target: Target, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Input, weights, and the direct sum in float32."""
    x, weight = _drawn(shape, seed + 1)
    part = Setting(shape, Epilogue(), target, 1)
    made = direct_runnable(part, direct_weights(weight, shape, target), padded_bias(None, shape, target))
    y = aligned(shape.output_shape)
    made.run(x.ctypes.data, y.ctypes.data)
    return x, weight, y


@functools.lru_cache(maxsize=1)
def _sample(shape: ConvShape) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Input, weights, and the result in float64; kept, as candidates of a layer are measured one after the other."""
    x, weight = _drawn(shape, 0)
    return x, weight, convolve(shape, x, weight)


def _drawn(shape: ConvShape, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Input N(0, 1), He weights."""
    draw = np.random.default_rng(seed)
    x = _normal(shape, draw)
    spread = np.float32(sqrt(2 / prod(shape.weight_shape[1:])))
    return x, spread * draw.standard_normal(shape.weight_shape, np.float32)


def _normal(shape: ConvShape, draw: np.random.Generator) -> np.ndarray:
    return draw.standard_normal(shape.input_shape, np.float32)


def normal_input(shape: ConvShape, seed: int) -> np.ndarray:
    """Input N(0, 1) alone, for weights that are given."""
    return _normal(shape, np.random.default_rng(seed))
