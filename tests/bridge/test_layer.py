"""bridge.layer: the text of a layer, its shapes, the padding of torch's modules."""

import pytest
import torch
from torch import nn

from secateur.bridge.layer import ConvLayer, plane, zeros_around
from secateur.errors import KernelError
from secateur.kernels.balanced_choice import BYTES
from secateur.kernels.byte_maps import ByteMap, ByteMaps

LAYERS = [
    ConvLayer(),
    ConvLayer((2, 1), (1, 2, 3, 4), (1, 3), 4, "leaky_relu", 0.1, "strict", 3, ((1, 5, 7), (2, 224, 224))),
    ConvLayer(activation="relu6", accuracy="fast", slope=1e-30),
    ConvLayer(padding=(1, 0, 2, 1), transposed=True),
    ConvLayer(activations=BYTES, maps=ByteMaps(ByteMap(1e-3), None, ByteMap(0.0123456789, signed=True))),
]


@pytest.mark.parametrize("layer", LAYERS)
def test_text_and_back(layer):
    assert ConvLayer.read(layer.text()) == layer


@pytest.mark.parametrize("text", ["", "stride=1,1", LAYERS[0].text().replace("0,0,0,0", "0,0"), "stride=1,1 x"])
def test_a_text_that_is_none(text):
    with pytest.raises(KernelError, match="describes no convolution"):
        ConvLayer.read(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "gelu"}, "gelu"),
        ({"accuracy": "sloppy"}, "sloppy"),
        ({"activation": "leaky_relu", "slope": -0.1}, "negative"),
        ({"activation": "leaky_relu", "slope": float("nan")}, "negative"),
        ({"threads": -1}, "threads=-1"),
        ({"transposed": True, "stride": (1, 2)}, "transposed"),
        ({"maps": ByteMaps(ByteMap(0.5))}, "dynamic-int8"),
    ],
)
def test_a_layer_that_is_none(options, message):
    with pytest.raises(KernelError, match=message):
        ConvLayer(**options)


def test_shapes():
    layer = LAYERS[1]
    shape = layer.shape((2, 8, 9, 11), (12, 2, 3, 3))
    assert layer.output_size(9, 11, (3, 3)) == (shape.out_height, shape.out_width)
    for x, weight in (((2, 9, 9, 11), (12, 2, 3, 3)), ((8, 9, 11), (12, 2, 3, 3)), ((2, 8, 9, 11), (12, 2, 3))):
        with pytest.raises(KernelError, match="do not fit"):
            layer.shape(x, weight)


def test_adjoint():
    layer = ConvLayer(padding=(1, 0, 2, 4), dilation=(1, 2), groups=2, threads=3, accuracy="fast", sizes=((1, 5, 7),))
    adjoint = layer.adjoint((3, 3))
    assert (adjoint.padding, adjoint.sizes) == ((1, 2, 2, 0), ((1, 4, 9),))
    assert adjoint.adjoint((3, 3)) == layer
    shape, back = layer.shape((1, 4, 5, 7), (6, 2, 3, 3)), adjoint.shape((1, 6, 4, 9), (6, 2, 3, 3))
    assert (shape.input_shape, shape.output_shape) == (back.output_shape, back.input_shape)
    assert ConvLayer(stride=(1, 2)).adjoint((3, 3)) is None
    assert ConvLayer(padding=(0, 3, 0, 0)).adjoint((3, 3)) is None


@pytest.mark.parametrize(
    ("conv", "expected"),
    [
        (nn.Conv2d(1, 1, 3, padding=(1, 2)), (1, 1, 2, 2)),
        (nn.Conv2d(1, 1, (2, 5), padding="same", dilation=(3, 1)), (1, 2, 2, 2)),
        (nn.Conv2d(1, 1, 3, padding="valid"), (0, 0, 0, 0)),
        (nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), (0, 0, 0, 0)),
        (nn.Conv1d(1, 1, 4, padding="same"), (0, 0, 1, 2)),
        (nn.Conv1d(1, 1, 4, padding=3), (0, 0, 3, 3)),
    ],
)
def test_zeros_around(conv, expected):
    assert zeros_around(conv) == expected
    assert ConvLayer(padding=zeros_around(conv), dilation=plane(conv.dilation))


def test_output_size_is_torchs():
    conv = nn.Conv2d(1, 1, (3, 2), stride=(2, 3), padding=(1, 4), dilation=(2, 1))
    layer = ConvLayer(plane(conv.stride), zeros_around(conv), plane(conv.dilation))
    assert layer.output_size(13, 17, (3, 2)) == conv(torch.zeros(1, 1, 13, 17)).shape[2:]
