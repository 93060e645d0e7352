"""Laws of convolutions over the non-zeros of a weight: the float64 sum, and the twin's order, for every shape, target,
cut, epilogue and number of threads."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel_cases import HERE, PLAIN, error, make_layer, result
from secateur.kernels.epilogue import ACTIVATIONS, Epilogue
from secateur.kernels.shape import ConvShape
from secateur.kernels.sparse_weights import sparse_convolve
from secateur.kernels.target import TARGETS

TOLERANCE = 1e-6
"""Sums of some hundred products."""
TWIN = 1e-9
"""The twin takes the same steps: fused multiply-adds that it rounds twice differ in one of 2^29."""
SAME = (1, 1, 1, 1)


def sparse_layer(shape, epilogue=PLAIN, density=0.2, seed=0):
    """A layer whose weights are zero but for some, in output channels that have none, some and all."""
    layer = make_layer(shape, epilogue, seed)
    kept = np.random.default_rng(seed).random(shape.weight_shape) < density
    kept[::5], kept[3::7] = False, True
    return replace(layer, weight=np.where(kept, layer.weight, np.float32(0)))


def check(layer, **options):
    found = result(layer, layer.kernel("sparse", **options))
    assert error(found, layer.expected()) < TOLERANCE
    return found


@pytest.mark.parametrize("target", HERE)
def test_every_number_of_channels(target):
    lanes = TARGETS[target].lanes
    counts = [1, lanes - 1, lanes, lanes + 1, 2 * lanes + 1]
    for inputs, outputs in zip(counts, reversed(counts), strict=True):
        check(sparse_layer(ConvShape(2, 6, 5, inputs, outputs, (3, 3), padding=SAME), Epilogue("relu")), target=target)


@pytest.mark.parametrize("target", HERE)
def test_every_number_of_pixels(target):
    lanes = TARGETS[target].lanes
    for pixels in (1, lanes - 1, lanes, lanes + 1, 2 * lanes + 1, 14 * lanes + 3):
        check(sparse_layer(ConvShape(1, 1, pixels, 9, 11, (1, 1))), target=target)


@pytest.mark.parametrize(
    ("taps", "stride", "dilation", "padding", "groups"),
    [
        ((1, 1), (2, 2), (1, 1), (0, 0, 0, 0), 1),
        ((3, 3), (2, 2), (1, 1), SAME, 1),
        ((5, 5), (1, 1), (1, 1), (2, 2, 2, 2), 1),
        ((5, 5), (2, 2), (1, 1), (2, 1, 1, 2), 1),
        ((3, 3), (1, 1), (2, 3), (2, 2, 3, 3), 3),
        ((1, 3), (3, 1), (1, 1), (0, 2, 4, 0), 2),
        ((3, 3), (1, 1), (1, 1), SAME, 6),
    ],
)
@pytest.mark.parametrize("target", HERE)
def test_every_way_to_walk(target, taps, stride, dilation, padding, groups):
    check(sparse_layer(ConvShape(2, 11, 13, 6, 12, taps, stride, padding, dilation, groups)), target=target)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("target", HERE)
def test_every_epilogue(target, activation, residual):
    shape = ConvShape(1, 5, 6, 4, 19, (3, 3), padding=SAME)
    layer = sparse_layer(shape, Epilogue(activation, residual=residual, slope=0.2))
    check(replace(layer, bias=4 * layer.bias), target=target)


@pytest.mark.parametrize("batch", [0, 1, 3])
def test_every_batch_on_any_number_of_threads(batch):
    layer = sparse_layer(ConvShape(batch, 20, 17, 9, 65, (3, 3), padding=SAME), Epilogue("relu", residual=True))
    alone = check(layer)
    for threads in (2, 3):
        np.testing.assert_array_equal(alone, check(layer, threads=threads))


@pytest.mark.parametrize("target", HERE)
def test_the_order_of_the_sum(target):
    """By input channel, row and column of taps, whatever the cut: so the result is that of the twin."""
    shape = ConvShape(1, 9, 9, 70, 5, (3, 3), padding=SAME)
    layer = sparse_layer(shape, density=0.9)
    layer = replace(layer, bias=np.zeros(5, np.float32))
    found, twin = check(layer, target=target), sparse_convolve(shape, layer.x, layer.weight)
    assert error(found, twin.astype(np.float64)) <= TWIN


def test_without_any_non_zero():
    layer = sparse_layer(ConvShape(1, 5, 5, 3, 4, (3, 3), padding=SAME))
    layer = replace(layer, weight=np.zeros_like(layer.weight))
    np.testing.assert_array_equal(check(layer), np.broadcast_to(layer.bias, layer.shape.output_shape))


@settings(max_examples=20)
@given(data=st.data())
def test_any_shape(data):
    groups = data.draw(st.integers(1, 3))
    taps, stride, dilation = (tuple(data.draw(st.integers(1, most)) for _ in range(2)) for most in (4, 3, 3))
    padding = tuple(data.draw(st.integers(0, 4)) for _ in range(4))
    reach = [d * (t - 1) + 1 for d, t in zip(dilation, taps, strict=True)]
    height, width = (data.draw(st.integers(reach[axis], 24)) for axis in (0, 1))
    channels = [groups * data.draw(st.integers(1, 9)) for _ in range(2)]
    shape = ConvShape(data.draw(st.integers(1, 3)), height, width, *channels, taps, stride, padding, dilation, groups)
    layer = sparse_layer(shape, Epilogue("relu6", residual=True), data.draw(st.floats(0, 1)))
    check(layer, target=data.draw(st.sampled_from(HERE)))


def test_a_planted_fault_is_seen():
    layer = sparse_layer(ConvShape(1, 9, 9, 8, 20, (3, 3), padding=SAME))
    wrong = layer.weight.copy()
    wrong[5, 3, 1, 1] += 0.01
    assert error(check(layer), replace(layer, weight=wrong).expected()) > TOLERANCE
