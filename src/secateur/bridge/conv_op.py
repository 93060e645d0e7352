"""The convolution kernels as torch operators: differentiable, opaque to torch.compile and torch.export.

    secateur::conv2d(x, weight, bias, residual, layer) -> y
    secateur::conv2d_inference: the same without a gradient, which saves the 25 us that torch takes to find out

x (n, c, h, w) in any layout, weight (k, c / groups, r, s), bias (k,) or None, residual of the shape of y or None; y is
channels_last; layer is the text of a `ConvLayer`. All tensors have one dtype. What is not float32 on a CPU, and input
of a size the layer names no kernel for, is computed by torch's own convolution. So does `conv2d` below under the
transforms of torch.func, forward-mode derivatives and torch.jit.trace, which know torch's own operators alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from secateur.bridge import by_torch
from secateur.bridge.kept import KERNELS
from secateur.bridge.layer import ConvLayer
from secateur.errors import KernelError

LIBRARY = torch.library.Library("secateur", "FRAGMENT")
NAMES = ("conv2d", "conv2d_inference")
ARGUMENTS = "(Tensor x, Tensor weight, Tensor? bias, Tensor? residual, str layer) -> Tensor"


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None, layer: str) -> Tensor:
    """The layer, by the operator that fits: differentiable where a gradient is asked for."""
    if transformed():
        return by_torch.convolved(x, weight, bias, residual, ConvLayer.read(layer))
    if torch.is_grad_enabled() and (
        x.requires_grad
        or weight.requires_grad
        or (bias is not None and bias.requires_grad)
        or (residual is not None and residual.requires_grad)
    ):
        return torch.ops.secateur.conv2d.default(x, weight, bias, residual, layer)
    return torch.ops.secateur.conv2d_inference.default(x, weight, bias, residual, layer)


def transformed() -> bool:
    """Whether torch is transforming what it runs, other than by compiling it."""
    if torch.compiler.is_compiling():
        return False
    functions = torch._C._are_functorch_transforms_active()
    return functions or forward_ad._current_level >= 0 or torch._C._is_tracing()


def _on_cpu(x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None, layer: str) -> Tensor:
    if x.dtype is not torch.float32 or weight.dtype is not torch.float32 or weight.is_inference():
        return _anywhere(x, weight, bias, residual, layer)
    kept = KERNELS.find(x, weight, bias, residual, layer)
    kernel = kept.kernel
    if kernel is None:
        return _anywhere(x, weight, bias, residual, layer)
    y = torch.empty(kept.size, dtype=torch.float32, memory_format=torch.channels_last)
    x = x.contiguous(memory_format=torch.channels_last)
    if residual is None:
        kernel.run(x.data_ptr(), y.data_ptr())
        return y
    if residual.shape != y.shape or residual.dtype is not torch.float32:
        raise _no_residual(residual, y)
    residual = residual.contiguous(memory_format=torch.channels_last)
    kernel.run(x.data_ptr(), y.data_ptr(), residual.data_ptr())
    return y


def _anywhere(x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None, layer: str) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):  # an operator computes in the dtype it is given
        y = by_torch.summed(x, weight, bias, ConvLayer.read(layer))
        if residual is not None and (residual.shape != y.shape or residual.dtype != y.dtype):
            raise _no_residual(residual, y)
        y = by_torch.activated(y if residual is None else y + residual, ConvLayer.read(layer))
    # A copy even where the layout is right: sizes of 1 have strides of their own.
    return torch.empty(y.shape, dtype=y.dtype, device=y.device, memory_format=torch.channels_last).copy_(y)


def _no_residual(residual: Tensor, y: Tensor) -> KernelError:
    return KernelError(f"the residual is {residual.dtype} {tuple(residual.shape)}, not {y.dtype} {tuple(y.shape)}")


def _fake(x: Tensor, weight: Tensor, _bias: Tensor | None, _residual: Tensor | None, layer: str) -> Tensor:
    rows, columns = ConvLayer.read(layer).output_size(x.shape[2], x.shape[3], (weight.shape[2], weight.shape[3]))
    size = (x.shape[0], weight.shape[0], rows, columns)
    return torch.empty(size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, _, _, text = inputs
    ctx.layer = ConvLayer.read(text)
    ctx.save_for_backward(x, weight, None if ctx.layer.activation == "none" else output)


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, y = ctx.saved_tensors
    grad = by_torch.before_activation(grad, y, ctx.layer)
    wanted = ctx.needs_input_grad
    of_inputs = by_torch.gradients(grad, x, weight, ctx.layer, wanted[:3])
    return (*of_inputs, grad if wanted[3] else None, None)


for _name in NAMES:
    LIBRARY.define(_name + ARGUMENTS)
    LIBRARY.impl(_name, _on_cpu, "CPU")
    LIBRARY.impl(_name, _anywhere, "CompositeExplicitAutograd")
    torch.library.register_fake(f"secateur::{_name}", _fake, lib=LIBRARY)
torch.library.register_autograd("secateur::conv2d", _gradients, setup_context=_setup, lib=LIBRARY)
