"""FastConv2d: torch's Conv2d on generated kernels, trainable."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secateur.bridge.conv_op import conv2d, transformed
from secateur.bridge.kept import KERNELS, NOTED
from secateur.bridge.layer import ConvLayer, plane, zeros_around


class FastConv2d(nn.Conv2d):
    """nn.Conv2d, same arguments and state-dict keys, computed by a generated kernel in float32 on the CPU.

    accuracy    "strict", "default" or "fast", as in `accelerate`
    threads     None: as many as torch has when the layer is called

    The first call with an input of a new shape measures which algorithm is fastest there, once a machine; a layer has
    kernels for at most eight shapes. Weights are packed again after they change (not seen: a change through `.data`;
    call `repack()`). With stride 1 the gradient of the input is computed by a kernel too, with the same transforms,
    where the first backward measured that to be faster than torch; the gradient of the weight by torch. Other dtypes
    and devices, autocast, torch.func and further shapes are computed by torch: `explain()` says what is. The output has
    nn.Conv2d's layout.
    """

    def __init__(self, *args: Any, accuracy: str = "default", threads: int | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.accuracy, self.threads = accuracy, threads
        self._geometry: tuple[object, ...] = ()
        self._layer = ""
        self._told: dict[tuple[int, ...], str] = {}
        self._describe(self._now())

    @classmethod
    def from_conv(cls, conv: nn.Conv2d, *, accuracy: str = "default", threads: int | None = None) -> Self:
        """The same layer with the same parameters, which both then share."""
        made = cls(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,
            stride=conv.stride,
            padding=conv.padding,
            dilation=conv.dilation,
            groups=conv.groups,
            bias=False,
            padding_mode=conv.padding_mode,
            device="meta",
            accuracy=accuracy,
            threads=threads,
        )
        made.weight, made.bias = conv.weight, conv.bias
        return made.train(conv.training)

    def explain(self) -> str:
        """Which algorithm computes the layer for each shape of input seen so far, or why torch does. Of a parametrized
        weight, which is packed at every call, what was found at the last call outside of compiled code."""
        if not self._made_anew():
            return KERNELS.explain(self.weight)
        return "\n".join(self._told.values()) or "not called yet, or by compiled code alone"

    def repack(self) -> None:
        """Pack the weights again at the next call."""
        KERNELS.forget(self.weight)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if (
            input.dtype != torch.float32
            or weight.dtype != torch.float32
            or input.device.type != "cpu"
            or input.dim() not in (3, 4)
            or input.shape[-3] != self.in_channels
            or torch.is_autocast_enabled("cpu")
            or transformed()
        ):
            return super()._conv_forward(input, weight, bias)
        now = self._now()
        if now != self._geometry:
            self._describe(now)
        channels_last = laid_out_last(input) or laid_out_last(weight)
        x = input if input.dim() == 4 else input.unsqueeze(0)
        if self.padding_mode != "zeros":
            x = F.pad(x, self._reversed_padding_repeated_twice, mode=self.padding_mode)
        y = conv2d(x, weight, bias, None, self._layer)
        if self._made_anew() and not torch.compiler.is_compiling():
            self._note(x, weight)
        y = y if channels_last else y.contiguous()
        return y if input.dim() == 4 else y.squeeze(0)

    def _made_anew(self) -> bool:
        """Whether every reading of the weight computes another tensor."""
        return "parametrizations" in self._modules and "weight" not in self._parameters

    def _note(self, x: Tensor, weight: Tensor) -> None:
        """Keep what is known of a weight's kernel, which is gone with the weight."""
        if x.shape in self._told or len(self._told) < NOTED:
            self._told[x.shape] = KERNELS.explain(weight)

    def _now(self) -> tuple[object, ...]:
        """What may be set after construction, as on any Conv2d."""
        return self.stride, self.padding, self.dilation, self.groups, self.padding_mode, self.accuracy, self.threads

    def _describe(self, now: tuple[object, ...]) -> None:
        self._layer = ConvLayer(
            stride=plane(self.stride),
            padding=zeros_around(self),
            dilation=plane(self.dilation),
            groups=self.groups,
            accuracy=self.accuracy,
            threads=self.threads or 0,
        ).text()
        self._geometry = now


def laid_out_last(tensor: Tensor) -> bool:
    """Whether channels are innermost in memory, and not only because sizes of 1 leave it open."""
    return tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()
