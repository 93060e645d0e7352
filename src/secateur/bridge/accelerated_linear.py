"""One replaced linear layer of an accelerated model: a convolution with one tap over a row of tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secateur.bridge import by_torch
from secateur.bridge.accelerated_conv import AcceleratedConv, Asked
from secateur.bridge.conv_op import at_once, conv2d, transformed
from secateur.bridge.map_bytes import numbers_of
from secateur.kernels.byte_maps import FLOATS, ByteMaps


class AcceleratedLinear(AcceleratedConv):
    """activation(linear(x) + residual) for a layer with its own copy of the weights, without gradients for them.

    Takes what nn.Linear takes: x (..., inputs). A kernel computes as many tokens as `plan_for` was told; torch other
    numbers and dtypes, and under autocast all, in its dtype.
    """

    def __init__(
        self,
        linear: nn.Linear,
        asked: Asked,
        *,
        activation: str = "none",
        slope: float = 0.01,
        maps: ByteMaps = FLOATS,
    ) -> None:
        super().__init__(as_conv(linear), asked, activation=activation, slope=slope, maps=maps)

    @property
    def weight(self) -> Tensor:
        """(outputs, inputs)"""
        return self.wide_weight[:, :, 0, 0]

    def forward(self, input: Tensor, residual: Tensor | None = None) -> Tensor:
        """input (..., inputs) and a residual of the output's shape; one of another shape is added by torch."""
        x = input
        if (done := self._at_once(x, residual)) is not None:
            return done
        if self._left_to_torch(x, residual):
            return self._by_torch(x, residual)
        other = None if residual is None else self.plane(residual)
        other = other if other is None or self.plan.maps.adds else other.to(self.wide_weight.dtype)
        y = conv2d(self.prepared(x), self.wide_weight, self.bias, other, self.layer)
        return y.permute(0, 2, 3, 1).reshape(*x.shape[:-1], self.wide_weight.shape[0])

    def _left_to_torch(self, x: Tensor, residual: Tensor | None) -> bool:
        outputs, inputs = self.wide_weight.shape[:2]
        if torch.is_autocast_enabled(x.device.type) or transformed() or x.is_complex():
            return True
        if x.dim() == 0 or x.shape[-1] != inputs or (1, 1, x.shape[:-1].numel()) not in self.plan.sizes:
            return True
        return residual is not None and residual.shape != (*x.shape[:-1], outputs)

    def _at_once(self, x: Tensor, residual: Tensor | None) -> Tensor | None:
        """By the kernel on tensors as they lie, if they are a row of tokens: reshaping and torch's dispatcher take 15
        us more. None where that is not possible."""
        if torch.compiler.is_compiling() or x.dim() == 0:
            return None
        held = self._parameters  # a fifth of the time of attributes
        weight, bias = held.get("wide_weight"), held.get("bias")
        if weight is None:
            return None
        like = (self.layer, (1, x.shape[-1], 1, x.shape[:-1].numel()), residual is not None)
        kept = at_once(like, x, weight, bias, residual)
        if kept is None or kept.kernel is None or not x.is_contiguous():
            return None
        size = (*x.shape[:-1], weight.shape[0])
        if residual is not None and (residual.shape != size or not residual.is_contiguous()):
            return None
        y = x.new_empty(size, dtype=kept.dtypes[1])
        kept.kernel.run(x.data_ptr(), y.data_ptr(), 0 if residual is None else residual.data_ptr())
        return y

    def _by_torch(self, x: Tensor, residual: Tensor | None) -> Tensor:
        autocast = torch.is_autocast_enabled(x.device.type)
        x = numbers_of(x, self.plan.maps.takes, self.wide_weight.dtype)
        y = F.linear(x if autocast or x.is_complex() else x.to(self.wide_weight.dtype), self.weight, self.bias)
        return by_torch.finished(y, residual, self.plan)

    def plane(self, x: Tensor) -> Tensor:
        """One row of tokens whose numbers are channels."""
        return x.reshape(1, 1, x.shape[:-1].numel(), x.shape[-1]).permute(0, 3, 1, 2)


def as_conv(linear: nn.Linear) -> nn.Conv2d:
    """The convolution with one tap that has the layer's parameters."""
    made = nn.Conv2d(linear.in_features, linear.out_features, 1, bias=False, device="meta")
    weight, bias = linear.weight.detach(), linear.bias
    made.weight = nn.Parameter(weight[:, :, None, None], requires_grad=False)
    made.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)
    return made
