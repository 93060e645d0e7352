"""Feature maps quantized at scales found at run time, as a torch operator, forward and backward.

Definition: `ir.ops.quantization.dynamic_quantize`, which this equals bit for bit. Straight-through: inside the range
the gradient passes as it is, and the scale has none.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from secateur.maths.map_grid import codes
from secateur.nn.pieces import LIBRARY

LIBRARY.define("dynamic_quantize(Tensor x, Tensor least, int bits, bool signed, int[] axes) -> Tensor")


def dynamic_quantize(x: Tensor, least: Tensor, bits: int, *, signed: bool, axes: tuple[int, ...]) -> Tensor:
    """float32(code) * scale, code = clip(floor(x / scale + 1/2), qmin, qmax), scale = max(max |x| / qmax, least), one
    for every place outside the axes; unsigned, the largest x.

    x of any shape and floating dtype, computed in float32; least > 0 of one element. The result has x's dtype.
    """
    return torch.ops.secateur.dynamic_quantize(x, least, bits, signed, list(axes))


def _forward(x: Tensor, least: Tensor, bits: int, signed: bool, axes: list[int]) -> Tensor:
    if not x.numel():
        return x.clone()
    (low, high), wide = codes(bits, signed=signed), x.float()
    largest = (wide.abs() if signed else wide.clamp_min(0)).amax(axes, keepdim=True)
    scale = torch.maximum(largest / high, least.float())
    code = (wide / scale).add_(0.5).floor_().clamp_(low, high)
    return code.mul_(scale).to(x.dtype)


def _shape(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001 - passed by keyword
    x, _, _, signed, _ = inputs
    ctx.signed = signed
    if not signed:
        ctx.save_for_backward(x)


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Codes with a sign reach both ends; of those without, what is negative was cut."""
    return (grad if ctx.signed else grad * (ctx.saved_tensors[0] >= 0), None, None, None, None)


LIBRARY.impl("dynamic_quantize", _forward, "CompositeExplicitAutograd")
torch.library.register_fake("secateur::dynamic_quantize", _shape, lib=LIBRARY)
torch.library.register_autograd("secateur::dynamic_quantize", _gradients, setup_context=_setup, lib=LIBRARY)
