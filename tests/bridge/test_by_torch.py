"""bridge.by_torch: the layer and its gradients in torch's own operators, against autograd."""

import pytest
import torch
from torch.nn import functional as F

from secateur.bridge.by_torch import before_activation, convolved, gradients
from secateur.bridge.layer import ConvLayer

LAYERS = [
    ConvLayer(padding=(1, 1, 1, 1)),
    ConvLayer((2, 1), (0, 1, 2, 1), (1, 2), 2, "relu"),
    ConvLayer(activation="relu6", groups=4),
    ConvLayer(activation="leaky_relu", slope=0.2, padding=(2, 0, 0, 0)),
]


def drawn(layer):
    torch.manual_seed(0)
    tensors = (torch.randn(2, 4, 6, 7), 3 * torch.randn(8, 4 // layer.groups, 3, 2), torch.randn(8))
    return [t.double().requires_grad_() for t in tensors]


@pytest.mark.parametrize("layer", LAYERS)
def test_gradients_are_those_of_autograd(layer):
    x, weight, bias = drawn(layer)
    top, bottom, left, right = layer.padding
    wide = F.conv2d(F.pad(x, (left, right, top, bottom)), weight, bias, layer.stride, 0, layer.dilation, layer.groups)
    residual = torch.randn_like(wide).requires_grad_()
    y = convolved(x, weight, bias, residual, layer)
    kinds = {"none": lambda t: t, "relu": F.relu, "relu6": F.relu6, "leaky_relu": lambda t: F.leaky_relu(t, 0.2)}
    expected = kinds[layer.activation](wide + residual)
    torch.testing.assert_close(y, expected)
    upstream = torch.randn_like(y)
    wanted = torch.autograd.grad(expected, (x, weight, bias, residual), upstream)
    grad = before_activation(upstream, y.detach(), layer)
    found = gradients(grad, x, weight, layer, (True, True, True))
    torch.testing.assert_close((*found, grad), wanted)
    assert gradients(grad, x, weight, layer, (False, True, False))[0] is None
