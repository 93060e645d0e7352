"""Shapes against torch, the definition against torch, regions against a count of every pixel's taps."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from secateur.errors import KernelError
from secateur.kernels.epilogue import ACTIVATIONS, Epilogue
from secateur.kernels.regions import flattened, segments
from secateur.kernels.shape import ConvShape, convolve


def test_the_definition_is_torchs():
    draw = np.random.default_rng(0)
    for shape in (
        ConvShape(2, 7, 8, 4, 6, (3, 2), (2, 1), (1, 1, 2, 2), (1, 2), 2),
        ConvShape(1, 5, 5, 3, 3, (1, 1)),
        ConvShape(1, 9, 6, 4, 8, (3, 3), (1, 3), (0, 0, 1, 1), (3, 1), 4),
    ):
        x, w = (draw.standard_normal(s).astype(np.float32) for s in (shape.input_shape, shape.weight_shape))
        wanted = F.conv2d(
            torch.from_numpy(x).double().permute(0, 3, 1, 2),
            torch.from_numpy(w).double(),
            stride=shape.stride,
            padding=(shape.padding[0], shape.padding[2]),
            dilation=shape.dilation,
            groups=shape.groups,
        )
        np.testing.assert_allclose(convolve(shape, x, w), wanted.permute(0, 2, 3, 1).numpy(), atol=1e-12)
        assert shape.macs == wanted.numel() * w[0].size


@settings(max_examples=60)
@given(data=st.data())
def test_segments_are_the_taps_inside_the_image(data):
    numbers = {name: data.draw(st.integers(1, most)) for name, most in (("taps", 5), ("stride", 3), ("dilation", 4))}
    before, after = (data.draw(st.integers(0, 9)) for _ in range(2))
    reach = numbers["dilation"] * (numbers["taps"] - 1) + 1
    size = data.draw(st.integers(max(1, reach - before - after), 20))
    ones = {name: (value, 1) for name, value in numbers.items()}
    shape = ConvShape(1, size, 1, 1, 1, padding=(before, after, 0, 0), **ones)
    found = segments(shape, 0)
    assert [s.start for s in found[1:]] == [s.stop for s in found[:-1]]
    assert (found[0].start, found[-1].stop) == (0, shape.out_height)
    for segment in found:
        for output in range(segment.start, segment.stop):
            places = [output * numbers["stride"] - before + k * numbers["dilation"] for k in range(numbers["taps"])]
            inside = [k for k, place in enumerate(places) if 0 <= place < size]
            assert list(range(segment.first, segment.last)) == inside


def test_a_1x1_layer_is_one_row_of_pixels():
    flat = flattened(ConvShape(2, 3, 4, 5, 6, (1, 1)))
    assert (flat.batch, flat.height, flat.width) == (1, 1, 24)
    assert flattened(ConvShape(0, 3, 4, 5, 6, (1, 1))).batch == 0
    for kept in (ConvShape(2, 3, 4, 5, 6, (1, 1), (2, 2)), ConvShape(2, 3, 4, 5, 6, (3, 3))):
        assert flattened(kept) is kept


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": -1}, "batch=-1"),
        ({"taps": (0, 3)}, "taps"),
        ({"stride": (1, 0)}, "stride"),
        ({"padding": (0, -1, 0, 0)}, "padding"),
        ({"groups": 3}, "do not split into 3 groups"),
        ({"taps": (9, 9)}, "no output"),
    ],
)
def test_shapes_that_are_none(change, message):
    given_shape = {"batch": 1, "height": 8, "width": 8, "in_channels": 4, "out_channels": 4, "taps": (3, 3)}
    with pytest.raises(KernelError, match=message):
        ConvShape(**{**given_shape, **change})


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_definition_of_an_epilogue_is_torchs(activation):
    y = torch.linspace(-9, 9, 40, dtype=torch.float64).reshape(8, 5)
    y[3, 2] = float("nan")
    bias, residual = torch.arange(5.0, dtype=torch.float64), torch.ones(8, 5, dtype=torch.float64)
    functions = {"none": lambda t: t, "relu": F.relu, "relu6": F.relu6, "leaky_relu": lambda t: F.leaky_relu(t, 0.3)}
    found = Epilogue(activation, residual=True, slope=0.3)(y.numpy(), bias.numpy(), residual.numpy())
    np.testing.assert_allclose(found, functions[activation](y + bias + residual).numpy())


def test_an_unknown_activation():
    with pytest.raises(KernelError, match="gelu"):
        Epilogue("gelu")
