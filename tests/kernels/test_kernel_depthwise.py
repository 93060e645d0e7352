"""Depthwise convolutions against the definition: every target, stride, dilation, padding, number of channels."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel_cases import HERE, error, make_layer, result
from secateur.kernels.compiler import assembly
from secateur.kernels.depthwise import STRIP_PIXELS, depthwise_module, depthwise_tasks, is_depthwise, packed_depthwise
from secateur.kernels.direct import TASK
from secateur.kernels.epilogue import ACTIVATIONS, Epilogue
from secateur.kernels.shape import ConvShape
from secateur.kernels.target import TARGETS

TOLERANCE = 1e-6
"""Sums of at most 49 products."""


def depthwise(channels, height, width, taps, **other):
    return ConvShape(other.pop("batch", 1), height, width, channels, channels, taps, groups=channels, **other)


def test_what_is_depthwise():
    assert is_depthwise(depthwise(2, 5, 5, (3, 3)))
    assert not is_depthwise(depthwise(1, 5, 5, (3, 3)))
    assert not is_depthwise(ConvShape(1, 5, 5, 4, 8, (3, 3), groups=4))
    assert not is_depthwise(ConvShape(1, 5, 5, 4, 4, (3, 3), groups=2))


@pytest.mark.parametrize(
    ("taps", "stride", "dilation", "padding"),
    [
        ((3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
        ((3, 3), (2, 2), (1, 1), (1, 1, 1, 1)),
        ((5, 5), (1, 1), (1, 1), (2, 2, 2, 2)),
        ((5, 5), (2, 2), (1, 1), (2, 1, 1, 2)),
        ((3, 3), (1, 1), (2, 3), (2, 2, 3, 3)),
        ((7, 7), (1, 1), (1, 1), (3, 3, 3, 3)),
        ((1, 1), (1, 1), (1, 1), (0, 0, 0, 0)),
        ((1, 3), (3, 1), (1, 1), (0, 2, 4, 0)),
    ],
)
@pytest.mark.parametrize("target", HERE)
def test_every_way_to_walk(target, taps, stride, dilation, padding):
    lanes = TARGETS[target].lanes
    for channels in (2, lanes, 2 * lanes + 1):
        shape = depthwise(channels, 8, 21, taps, batch=2, stride=stride, dilation=dilation, padding=padding)
        layer = make_layer(shape)
        assert error(result(layer, layer.kernel("direct", target=target)), layer.expected()) < TOLERANCE


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("target", HERE)
def test_every_epilogue(target, activation, residual):
    shape = depthwise(19, 6, 9, (3, 3), padding=(1, 1, 1, 1))
    layer = make_layer(shape, Epilogue(activation, residual=residual, slope=0.2))
    layer = replace(layer, bias=4 * layer.bias)
    assert error(result(layer, layer.kernel("direct", target=target)), layer.expected()) < TOLERANCE


@pytest.mark.parametrize("batch", [0, 1, 3])
def test_every_batch_on_any_number_of_threads(batch):
    layer = make_layer(depthwise(33, 40, 17, (3, 3), batch=batch, padding=(1, 1, 1, 1)))
    alone, together = (result(layer, layer.kernel("direct", threads=threads)) for threads in (1, 3))
    np.testing.assert_array_equal(alone, together)
    assert error(alone, layer.expected()) < TOLERANCE


def test_a_kernel_larger_than_the_image_sees_what_there_is():
    layer = make_layer(depthwise(5, 1, 2, (5, 5), padding=(4, 4, 4, 4)))
    assert error(result(layer, layer.kernel("direct")), layer.expected()) < TOLERANCE


@settings(max_examples=15)
@given(data=st.data())
def test_any_shape(data):
    few, taps = st.integers(1, 3), (data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5)))
    dilation = (data.draw(few), data.draw(few))
    reach = [d * (t - 1) + 1 for d, t in zip(dilation, taps, strict=True)]
    height, width = (data.draw(st.integers(size, 24)) for size in reach)
    padding = tuple(data.draw(st.integers(0, 3)) for _ in range(4))
    channels, target = data.draw(st.integers(2, 40)), data.draw(st.sampled_from(HERE))
    layer = make_layer(
        depthwise(
            channels, height, width, taps, stride=(data.draw(few), data.draw(few)), dilation=dilation, padding=padding
        )
    )
    assert error(result(layer, layer.kernel("direct", target=target)), layer.expected()) < TOLERANCE


def test_tasks_cover_every_output_once():
    shape, target = depthwise(6, 9, 29, (3, 3), stride=(2, 1), padding=(1, 1, 1, 1)), TARGETS["avx2"]
    tasks, walks = depthwise_tasks(shape, target)
    assert walks.size == 0
    sinks = sorted(tasks[:, TASK.names.index("target_bytes")] // (4 * 6))
    assert sinks[0] == 0
    lengths = np.diff([*sinks, shape.out_height * shape.out_width])
    assert 1 <= lengths.min() <= lengths.max() <= STRIP_PIXELS
    assert set(tasks[:, TASK.names.index("left")]) == {2, 3}


def test_weights_lie_tap_after_tap():
    target = TARGETS["avx2"]
    shape = depthwise(11, 5, 5, (2, 3))
    weight = np.arange(66, dtype=np.float32).reshape(11, 1, 2, 3)
    packed = packed_depthwise(weight, shape, target)
    assert packed.shape == (2, 6, 8)
    np.testing.assert_array_equal(packed[1, 4], [*weight[8:, 0, 1, 1], 0, 0, 0, 0, 0])


@pytest.mark.parametrize("taps", [(3, 3), (5, 5)])
@pytest.mark.parametrize("name", TARGETS)
def test_nothing_of_a_strip_is_kept_on_the_stack(name, taps):
    """Sums, a row of taps and an input fit into the registers of every target."""
    shape = depthwise(64, 28, 28, taps, padding=(taps[0] // 2,) * 4)
    listing = assembly(depthwise_module(shape, TARGETS[name], Epilogue("relu6")), TARGETS[name])
    assert re.search(r"vfmadd\w+ps.*%[yz]mm|fmla\s+v\d+\.4s", listing)
    assert re.findall(r"vmovups\s+%[yz]mm\d+, -?\d*\(%rsp\)|str\s+q\d+, \[sp", listing) == []
