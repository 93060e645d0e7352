"""Laws of generated convolutions: the float64 sum, for every shape, target, algorithm, epilogue, thread count."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel_cases import HERE, error, make_layer, result
from secateur.kernels.algorithms import Tiling, catalogue
from secateur.kernels.epilogue import ACTIVATIONS, Epilogue
from secateur.kernels.products_stage import SUMMED, SUMMED_LARGE
from secateur.kernels.shape import ConvShape
from secateur.kernels.target import TARGETS

TOLERANCE = 3e-5
"""Far below what a wrong tap, channel or pixel does (order 1), above what rounding does at few channels."""
SAME = (1, 1, 1, 1)


def channel_counts(target: str) -> list[int]:
    lanes = TARGETS[target].lanes
    return [1, lanes - 1, lanes, lanes + 1, 2 * lanes + 1]


@pytest.mark.parametrize("algorithm", ["direct", "F(4x4,3x3)"])
@pytest.mark.parametrize("target", HERE)
def test_every_number_of_channels(target, algorithm):
    counts = channel_counts(target)
    for inputs, outputs in zip(counts, reversed(counts), strict=True):
        layer = make_layer(ConvShape(2, 6, 5, inputs, outputs, (3, 3), padding=SAME), Epilogue("relu"))
        assert error(result(layer, layer.kernel(algorithm, target=target)), layer.expected()) < TOLERANCE


@pytest.mark.parametrize("taps", [(3, 3), (5, 5), (7, 7), (1, 1), (1, 3), (5, 1), (3, 5), (2, 4)])
def test_every_algorithm_of_the_catalogue(taps):
    tilings = catalogue(taps)
    assert len({one.name for one in tilings}) == len(tilings)
    few = tilings[:: max(1, len(tilings) // 4)]
    assert few
    for algorithm in few:
        outputs = algorithm.outputs
        assert algorithm.exact.proves()
        assert (algorithm.name.removeprefix(algorithm.exact.name) != "") == any(map(bool, algorithm.beside))
        assert algorithm.products == algorithm.exact.products
        shape = ConvShape(1, 2 * outputs[0] + taps[0], 2 * outputs[1] + taps[1], 5, 7, taps, padding=(1, 0, 0, 1))
        layer = make_layer(shape)
        kernel = layer.kernel(algorithm.name)
        assert kernel.choice.chosen.algorithm == algorithm.name
        assert error(result(layer, kernel), layer.expected()) < 2 * TOLERANCE


@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 1)])
@pytest.mark.parametrize("target", HERE)
def test_one_tap_of_any_stride(target, stride):
    """On a copy of the pixels that the stride leaves, also of those in the padding."""
    for padding in ((0, 0, 0, 0), (1, 0, 2, 1)):
        shape = ConvShape(2, 7, 6, 21, 37, (1, 1), stride, padding)
        layer = make_layer(shape, Epilogue("relu", residual=True))
        assert error(result(layer, layer.kernel("F(1x1,1x1)", target=target)), layer.expected()) < TOLERANCE


@pytest.mark.parametrize("target", HERE)
def test_more_channels_than_are_summed_at_a_time(target):
    for channels in (SUMMED - 1, SUMMED + TARGETS[target].lanes, 3 * SUMMED + 5):
        layer = make_layer(ConvShape(1, 5, 9, channels, 40, (3, 3), padding=SAME))
        assert error(result(layer, layer.kernel("F(4x4,3x3)", target=target)), layer.expected()) < TOLERANCE
    layer = make_layer(ConvShape(1, 5, 9, 3 * SUMMED_LARGE + 5, 40, (5, 5), padding=(2, 2, 2, 2)))
    kernel = layer.kernel("F(6x6,5x5)/x^2+1", target=target)
    assert error(result(layer, kernel), layer.expected()) < TOLERANCE


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("algorithm", ["direct", "F(2x2,3x3)"])
def test_every_epilogue(algorithm, activation, residual):
    shape = ConvShape(1, 5, 6, 4, 19, (3, 3), padding=SAME)
    layer = make_layer(shape, Epilogue(activation, residual=residual, slope=0.2))
    layer = replace(layer, bias=4 * layer.bias)
    assert error(result(layer, layer.kernel(algorithm)), layer.expected()) < TOLERANCE


@pytest.mark.parametrize("batch", [0, 1, 3])
@pytest.mark.parametrize("algorithm", ["direct", "F(4x4,3x3)"])
def test_every_batch(algorithm, batch):
    layer = make_layer(ConvShape(batch, 8, 8, 3, 5, (3, 3), padding=SAME))
    found = result(layer, layer.kernel(algorithm))
    assert found.shape == (batch, 8, 8, 5)
    assert error(found, layer.expected()) < TOLERANCE


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("algorithm", ["direct", "F(4x4,3x3)"])
def test_threads_change_nothing(algorithm, threads):
    for size in (6, 40):
        layer = make_layer(ConvShape(1, size, size, 9, 33, (3, 3), padding=SAME), Epilogue("relu"))
        alone, together = (layer.kernel(algorithm, threads=count) for count in (1, threads))
        np.testing.assert_array_equal(result(layer, alone), result(layer, together))


@settings(max_examples=25)
@given(data=st.data())
def test_any_shape_fast(data):
    sizes = st.integers(1, 20)
    taps = data.draw(st.sampled_from([(3, 3), (5, 5), (1, 3)]))
    padding = tuple(data.draw(st.integers(0, 2)) for _ in range(4))
    height, width = (data.draw(st.integers(taps[axis], 20)) for axis in (0, 1))
    shape = ConvShape(
        data.draw(st.integers(1, 2)), height, width, data.draw(sizes), data.draw(sizes), taps, padding=padding
    )
    outputs = (1, 4) if taps[0] == 1 else (4, 4) if taps == (3, 3) else (2, 2)
    outputs = tuple(min(m, size + 1) for m, size in zip(outputs, (shape.out_height, shape.out_width), strict=True))
    outputs = tuple(m if r == 1 or m > 1 else 2 for m, r in zip(outputs, taps, strict=True))
    layer = make_layer(shape)
    kernel = layer.kernel(Tiling(outputs, taps).name, target=data.draw(st.sampled_from(HERE)))
    assert error(result(layer, kernel), layer.expected()) < TOLERANCE


@settings(max_examples=15)
@given(data=st.data())
def test_any_shape_direct(data):
    groups = data.draw(st.integers(1, 3))
    taps, stride, dilation = (tuple(data.draw(st.integers(1, most)) for _ in range(2)) for most in (4, 3, 3))
    padding = tuple(data.draw(st.integers(0, 4)) for _ in range(4))
    reach = [d * (t - 1) + 1 for d, t in zip(dilation, taps, strict=True)]
    height, width = (data.draw(st.integers(reach[axis], 12)) for axis in (0, 1))
    channels = [groups * data.draw(st.integers(1, 9)) for _ in range(2)]
    shape = ConvShape(data.draw(st.integers(1, 2)), height, width, *channels, taps, stride, padding, dilation, groups)
    layer = make_layer(shape, Epilogue("relu6", residual=True))
    kernel = layer.kernel("direct", target=data.draw(st.sampled_from(HERE)))
    assert error(result(layer, kernel), layer.expected()) < TOLERANCE


@pytest.mark.parametrize("algorithm", ["direct", "F(4x4,3x3)"])
def test_a_planted_fault_is_seen(algorithm):
    layer = make_layer(ConvShape(1, 9, 9, 8, 20, (3, 3), padding=SAME))
    kernel = layer.kernel(algorithm)
    wrong = layer.weight.copy()
    wrong[7, 3, 1, 1] += 0.01
    expected = replace(layer, weight=wrong).expected()
    assert error(result(layer, kernel), layer.expected()) < TOLERANCE < error(result(layer, kernel), expected)
