"""A layer computed by torch itself: what no kernel takes, and the gradients."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from secateur.bridge.layer import ConvLayer
from secateur.bridge.map_bytes import codes_of, numbers_of
from secateur.errors import KernelError

Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]


def convolved(x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None, layer: ConvLayer) -> Tensor:
    """The layer in any dtype, on any device; x (n, c, h, w). Maps of codes as the layer says."""
    y = summed(numbers_of(x, layer.maps.takes, weight.dtype), weight, bias, layer)
    return finished(y, residual, layer)


def finished(y: Tensor, residual: Tensor | None, layer: ConvLayer) -> Tensor:
    """The layer from its sums on: residual, activation, codes."""
    y = y if residual is None else y + numbers_of(residual, layer.maps.adds, y.dtype)
    return codes_of(activated(y, layer), layer.maps.gives)


def summed(x: Tensor, weight: Tensor, bias: Tensor | None, layer: ConvLayer) -> Tensor:
    """The convolution with its bias alone."""
    if layer.transposed:
        return _transposed(x, weight, bias, layer)
    x, padding = padded(x, layer)
    return torch.conv2d(x, weight, bias, layer.stride, padding, layer.dilation, layer.groups)


def _transposed(x: Tensor, weight: Tensor, bias: Tensor | None, layer: ConvLayer) -> Tensor:
    """A layer that says so: the transpose of its adjoint, the padding of which is cut off."""
    top, bottom, left, right = _adjoint(weight, layer).padding
    even = (top, left) == (bottom, right)
    padding = (top, left) if even else (0, 0)
    y = torch.conv_transpose2d(x, weight, bias, 1, padding, 0, layer.groups, layer.dilation)
    return y if even else y[:, :, top : y.shape[2] - bottom, left : y.shape[3] - right]


def _adjoint(weight: Tensor, layer: ConvLayer) -> ConvLayer:
    found = layer.adjoint((weight.shape[2], weight.shape[3]))
    if found is None:
        raise KernelError(f"a transposed layer with weight {tuple(weight.shape)} cannot have padding={layer.padding}")
    return found


def padded(x: Tensor, layer: ConvLayer) -> tuple[Tensor, tuple[int, int]]:
    """The input and the padding that torch's convolution can take, which is the same on both sides."""
    top, bottom, left, right = layer.padding
    if (top, left) == (bottom, right):
        return x, (top, left)
    return F.pad(x, (left, right, top, bottom)), (0, 0)


def activated(y: Tensor, layer: ConvLayer) -> Tensor:
    """The layer's activation."""
    if layer.activation == "relu":
        return F.relu(y)
    if layer.activation == "relu6":
        return F.relu6(y)
    if layer.activation == "leaky_relu":
        return F.leaky_relu(y, layer.slope)
    return y


def before_activation(grad: Tensor, y: Tensor, layer: ConvLayer) -> Tensor:
    """The gradient before the activation, from that after it and the layer's output y."""
    if layer.activation == "none":
        return grad
    if layer.activation == "leaky_relu":
        return torch.where(y > 0, grad, grad * layer.slope)
    passed = grad.masked_fill(y <= 0, 0)
    return passed.masked_fill(y >= 6, 0) if layer.activation == "relu6" else passed


def gradients(grad: Tensor, x: Tensor, weight: Tensor, layer: ConvLayer, wanted: tuple[bool, bool, bool]) -> Gradients:
    """Gradients of x, weight and bias, those that are wanted, by torch's own backward convolution."""
    if layer.transposed:  # <conv(x), g> = <x, adjoint(g)>, so that the roles of x and g are exchanged for the weight
        other = _adjoint(weight, layer)
        of_x = summed(grad, weight, None, other) if wanted[0] else None
        of_weight = gradients(x, grad, weight, other, (False, True, False))[1] if wanted[1] else None
        return of_x, of_weight, grad.sum((0, 2, 3)) if wanted[2] else None
    wide, padding = padded(x, layer)
    of_x, of_weight, of_bias = torch.ops.aten.convolution_backward(
        grad,
        wide,
        weight,
        [weight.shape[0]],
        layer.stride,
        padding,
        layer.dilation,
        False,
        [0, 0],
        layer.groups,
        wanted,
    )
    if wanted[0] and wide is not x:
        top, _, left, _ = layer.padding
        of_x = of_x[:, :, top : top + x.shape[2], left : left + x.shape[3]]
    return of_x, of_weight, of_bias
