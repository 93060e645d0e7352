"""One replaced layer of an accelerated model: convolution, bias, residual and activation in one call."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secateur.bridge import by_torch
from secateur.bridge.conv_op import conv2d, transformed
from secateur.bridge.fast_conv2d import laid_out_last
from secateur.bridge.kept import KERNELS, Kept, Request, request
from secateur.bridge.layer import ConvLayer, plane, zeros_around
from secateur.bridge.map_bytes import numbers_of
from secateur.kernels.balanced_choice import FLOAT
from secateur.kernels.byte_maps import FLOATS, ByteMaps

Conv = nn.Conv1d | nn.Conv2d
Layer = Conv | nn.Linear
"""What can be replaced."""


@dataclass(frozen=True)
class Asked:
    """What is asked of all layers: the class of accuracy; threads, 0 as many as torch has; whether a layer's output
    must have the layout of its input (else it is channels_last); how layers may read activations."""

    accuracy: str = "default"
    threads: int = 0
    keep_layout: bool = False
    activations: str = FLOAT


class AcceleratedConv(nn.Module):
    """activation(conv(x) + bias + residual) for a layer with its own copy of the weights, without gradients for them.

    Takes what nn.Conv1d or nn.Conv2d takes; codes where `maps` has bytes, and gives codes. A kernel computes inputs of
    the size that `plan_for` was told; torch those of other sizes and dtypes, and under autocast all, in its dtype.
    """

    wide_weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(
        self,
        conv: Conv,
        asked: Asked,
        *,
        activation: str = "none",
        slope: float = 0.01,
        maps: ByteMaps = FLOATS,
    ) -> None:
        super().__init__()
        weight = conv.weight.detach().clone(memory_format=torch.contiguous_format)
        self.axes = weight.dim() - 2
        self.wide_weight = nn.Parameter(weight.unsqueeze(2) if self.axes == 1 else weight, requires_grad=False)
        bias = None if conv.bias is None else nn.Parameter(conv.bias.detach().clone(), requires_grad=False)
        self.register_parameter("bias", bias)
        self.mode = conv.padding_mode
        self.around = list(conv._reversed_padding_repeated_twice) if self.mode != "zeros" else []
        self.keep_layout = asked.keep_layout
        self.plan = ConvLayer(
            stride=plane(conv.stride),
            padding=zeros_around(conv),
            dilation=plane(conv.dilation),
            groups=conv.groups,
            activation=activation,
            slope=slope,
            accuracy=asked.accuracy,
            threads=asked.threads,
            activations=asked.activations,
            maps=maps,
        )
        self.layer = self.plan.text()

    def plan_for(self, x: Tensor) -> None:
        """Use a kernel for inputs of the size of x, and for no other."""
        wide = self.prepared(x)
        self.plan = replace(self.plan, sizes=((wide.shape[0], wide.shape[2], wide.shape[3]),))
        self.layer = self.plan.text()

    def request(self, x: Tensor, *, residual: bool) -> Request:
        """What it will ask of a kernel for an input like x, which may be without data."""
        return request((self.layer, self.prepared(x).shape, 0, torch.get_num_threads(), residual), self.wide_weight)

    def kept(self, x: Tensor, residual: Tensor | None) -> Kept:
        """The kernel that computes this input."""
        return KERNELS.find(self.prepared(x), self.wide_weight, self.bias, residual, self.layer)

    @property
    def weight(self) -> Tensor:
        """In the shape that it has in the layer that was replaced, for code that reads it there."""
        return self.wide_weight.squeeze(2) if self.axes == 1 else self.wide_weight

    def forward(self, input: Tensor, residual: Tensor | None = None) -> Tensor:
        """input (n, c, h, w) or (n, c, w), with or without n, and a residual of the output's shape; one of another
        shape is added by torch."""
        if input.dim() not in (self.axes + 1, self.axes + 2):
            return (torch.conv1d if self.axes == 1 else torch.conv2d)(input, self.weight)  # says what it takes
        x = self.prepared(input)
        if residual is not None and residual.shape != self._given(input.shape, x.shape):
            numbers = numbers_of(x, self.plan.maps.takes, self.wide_weight.dtype)
            y = by_torch.summed(numbers, *self._tensors(), self.plan)
            return by_torch.finished(self._as_input(y, input), residual, self.plan)
        other = None if residual is None else self.plane(residual)
        if torch.is_autocast_enabled(x.device.type):
            y = by_torch.convolved(x, *self._tensors(), other, self.plan)
        else:
            other = other if other is None or self.plan.maps.adds else other.to(self.wide_weight.dtype)
            y = conv2d(x, *self._tensors(), other, self.layer)
        if self.keep_layout and not transformed() and not laid_out_last(input):
            y = y.contiguous()
        return self._as_input(y, input)

    def _tensors(self) -> tuple[Tensor, Tensor | None]:
        return self.wide_weight, self.bias

    def _as_input(self, y: Tensor, x: Tensor) -> Tensor:
        y = y.squeeze(2) if self.axes == 1 else y
        return y if x.dim() == self.axes + 2 else y.squeeze(0)

    def _given(self, size: torch.Size, wide: torch.Size) -> tuple[int, ...]:
        """Shape of the output for an input of this size, which is `wide` when prepared."""
        weight = self.wide_weight.shape
        sizes = self.plan.output_size(wide[2], wide[3], (weight[2], weight[3]))[2 - self.axes :]
        return (*size[: len(size) - self.axes - 1], weight[0], *sizes)

    def extra_repr(self) -> str:
        """The layer and its shape of weight."""
        return f"{tuple(self.wide_weight.shape)}, {self.layer}"

    def prepared(self, x: Tensor) -> Tensor:
        """As the operator takes it: four dimensions, codes or the weight's dtype, with what is not zero around it."""
        as_it_is = self.plan.maps.takes is not None or x.is_complex()  # which torch refuses
        x = self.plane(x if as_it_is else x.to(self.wide_weight.dtype))
        if self.mode == "zeros":
            return x
        if self.axes == 1:
            return F.pad(x.squeeze(2), self.around, mode=self.mode).unsqueeze(2)
        return F.pad(x, self.around, mode=self.mode)

    def plane(self, x: Tensor) -> Tensor:
        """With a batch, and of a Conv1d with a height of 1."""
        x = x if x.dim() == self.axes + 2 else x.unsqueeze(0)
        return x.unsqueeze(2) if self.axes == 1 else x
