"""The convolution kernels as torch operators: differentiable, opaque to torch.compile and torch.export.

    secateur::conv2d(x, weight, bias, residual, layer) -> y
    secateur::conv2d_inference: the same without a gradient, which saves the 25 us that torch takes to find out

x (n, c, h, w) in any layout, weight (k, c / groups, r, s), bias (k,) or None, residual of the shape of y or None; y is
channels_last; layer is the text of a `ConvLayer`. All tensors have one dtype, but for maps of codes that it names. What
is not float32 on a CPU, and input of a size the layer names no kernel for, is computed by torch's own convolution. So
does `conv2d` below under the transforms of torch.func, forward-mode derivatives and torch.jit.trace, which know torch's
own operators alone. A layer that gives codes has no derivative, and says so.

The gradient of the input of a convolution with stride 1 is a convolution with the same weight, flipped: it runs on a
kernel, with the same proved transforms, where that was measured to be faster than torch. The gradient of the weight is
torch's: it sums over tiles (tests/laws: the transposed algorithm), for which there are no kernels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from secateur.bridge import by_torch
from secateur.bridge.kept import KERNELS, Kept, Size
from secateur.bridge.layer import ConvLayer
from secateur.bridge.map_bytes import dtype_of_map, numbers_of, refuse_derivatives
from secateur.errors import KernelError

LIBRARY = torch.library.Library("secateur", "FRAGMENT")
NAMES = ("conv2d", "conv2d_inference")
_MADE_IN_INFERENCE = torch.inference_mode()(torch.empty)(0, device="cpu")
_PLAIN_KEYS = frozenset(
    torch._C._dispatch_keys(made).raw_repr() for made in (torch.empty(0, device="cpu"), _MADE_IN_INFERENCE)
)
"""What torch would call for the usual tensors of a CPU: no subclass, no view that negates, no other layout."""
KERNELS_READ = (torch.float32, torch.int8, torch.uint8)
KERNELS_TAKE = ("cpu", torch.float32, torch.float32)
"""Device, dtype of the input, dtype of the weight."""
ARGUMENTS = "(Tensor x, Tensor weight, Tensor? bias, Tensor? residual, str layer) -> Tensor"


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None, layer: str) -> Tensor:
    """The layer: at once where that is the same, else by the operator that fits, differentiable where a gradient is
    asked for."""
    kept = at_once((layer, x.shape, residual is not None), x, weight, bias, residual)
    if kept is not None:
        return _run(kept, x, residual)
    if transformed():
        return by_torch.convolved(x, weight, bias, residual, ConvLayer.read(layer))
    if torch.is_grad_enabled() and (
        x.requires_grad
        or weight.requires_grad
        or (bias is not None and bias.requires_grad)
        or (residual is not None and residual.requires_grad)
    ):
        # A compiler cannot look through the cache of `read`.
        if not torch.compiler.is_compiling() and ConvLayer.read(layer).maps.gives is not None:
            refuse_derivatives(x, weight, bias, residual)
        return torch.ops.secateur.conv2d.default(x, weight, bias, residual, layer)
    return torch.ops.secateur.conv2d_inference.default(x, weight, bias, residual, layer)


def at_once(
    like: tuple[str, Size, bool], x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None
) -> Kept | None:
    """The kernel that an operator on these would run, where torch's dispatcher, which takes five times as long as to
    call it, has nothing to do: plain tensors, no gradient, nobody who transforms, records or watches. None otherwise,
    and while a kernel is still to be made.

    like: the layer's text, the size (n, c, h, w) of the input, whether there is a residual.
    """
    if torch.compiler.is_compiling() or _watched() or transformed():
        return None
    if not _plain(x) or (residual is not None and not _plain(residual)):
        return None
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, weight, bias, residual)):
        return None
    kept = KERNELS.ready(like, weight, bias)
    if kept is None or x.dtype is not kept.dtypes[0] or (residual is not None and residual.dtype is not kept.dtypes[2]):
        return None
    return kept


def _watched() -> bool:
    modes = torch._C._len_torch_dispatch_stack() or torch._C._is_torch_function_mode_enabled()
    return bool(modes) or torch._C._is_any_autocast_enabled() or torch.autograd.profiler._is_profiler_enabled


def _plain(x: Tensor) -> bool:
    """Whether all that torch would do about a tensor is to call what is registered for the CPU."""
    return type(x) is Tensor and torch._C._dispatch_keys(x).raw_repr() in _PLAIN_KEYS


def transformed() -> bool:
    """Whether torch is transforming what it runs, other than by compiling it."""
    if torch.compiler.is_compiling():
        return False
    functions = torch._C._are_functorch_transforms_active()
    return functions or forward_ad._current_level >= 0 or torch._C._is_tracing()


def _on_cpu(x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None, layer: str) -> Tensor:
    if x.dtype not in KERNELS_READ or weight.dtype is not torch.float32 or weight.is_inference():
        return _anywhere(x, weight, bias, residual, layer)
    kept = KERNELS.find(x, weight, bias, residual, layer)
    if kept.kernel is None or x.dtype is not kept.dtypes[0]:
        return _anywhere(x, weight, bias, residual, layer)
    return _run(kept, x, residual)


def _run(kept: Kept, x: Tensor, residual: Tensor | None) -> Tensor:
    assert kept.kernel is not None
    _, given, added = kept.dtypes
    y = torch.empty(kept.size, dtype=given, memory_format=torch.channels_last)
    x = x.contiguous(memory_format=torch.channels_last)
    if residual is None:
        kept.kernel.run(x.data_ptr(), y.data_ptr())
        return y
    if residual.shape != y.shape or residual.dtype is not added:
        raise _no_residual(residual, y.shape, added)
    residual = residual.contiguous(memory_format=torch.channels_last)
    kept.kernel.run(x.data_ptr(), y.data_ptr(), residual.data_ptr())
    return y


def _anywhere(x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None, layer: str) -> Tensor:
    plan = ConvLayer.read(layer)
    with torch.autocast(x.device.type, enabled=False):  # an operator computes in the dtype it is given
        y = by_torch.summed(numbers_of(x, plan.maps.takes, weight.dtype), weight, bias, plan)
        wanted = y.dtype if plan.maps.adds is None else dtype_of_map(plan.maps.adds)
        if residual is not None and (residual.shape != y.shape or residual.dtype != wanted):
            raise _no_residual(residual, y.shape, wanted)
        y = by_torch.finished(y, residual, plan)
    made = torch.empty(y.shape, dtype=y.dtype, device=y.device, memory_format=torch.channels_last)
    # Sizes of 1 may have strides of their own in y.
    return y if y.stride() == made.stride() else made.copy_(y)


def _no_residual(residual: Tensor, shape: torch.Size, dtype: torch.dtype) -> KernelError:
    return KernelError(f"the residual is {residual.dtype} {tuple(residual.shape)}, not {dtype} {tuple(shape)}")


def _fake(x: Tensor, weight: Tensor, _bias: Tensor | None, _residual: Tensor | None, layer: str) -> Tensor:
    plan = ConvLayer.read(layer)
    rows, columns = plan.output_size(x.shape[2], x.shape[3], (weight.shape[2], weight.shape[3]))
    size, given = (x.shape[0], plan.out_channels(weight.shape), rows, columns), plan.maps.gives
    floats = x.dtype if plan.maps.takes is None else weight.dtype
    return torch.empty(
        size, dtype=floats if given is None else dtype_of_map(given), device=x.device, memory_format=torch.channels_last
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, _, _, text = inputs
    ctx.layer = ConvLayer.read(text)
    ctx.save_for_backward(x, weight, None if ctx.layer.activation == "none" else output)


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, y = ctx.saved_tensors
    grad = by_torch.before_activation(grad, y, ctx.layer)
    wanted = ctx.needs_input_grad
    of_x, of_weight, of_bias = None, None, None
    text = _by_kernel(grad, weight, ctx.layer) if wanted[0] else None
    if text is not None:
        of_x = conv2d(grad, weight, None, None, text)
    left = (wanted[0] and text is None, wanted[1], wanted[2])
    if any(left):
        others = by_torch.gradients(grad, x, weight, ctx.layer, left)
        of_x, of_weight, of_bias = others[0] if text is None else of_x, *others[1:]
    return of_x, of_weight, of_bias, grad if wanted[3] else None, None


def _by_kernel(grad: Tensor, weight: Tensor, layer: ConvLayer) -> str | None:
    """The adjoint's text if a kernel computes the gradient of the input; while torch compiles, if one may."""
    taps = weight.shape[2], weight.shape[3]
    if transformed() or (grad.device.type, grad.dtype, weight.dtype) != KERNELS_TAKE:
        return None
    adjoint = layer.adjoint(taps) if all(type(r) is int for r in taps) else None  # a text holds no symbolic sizes
    if adjoint is None:
        return None
    text = adjoint.text()
    if type(grad) is Tensor and KERNELS.find(grad, weight, None, None, text).kernel is None:
        return None  # torch may compute all gradients together
    return text


for _name in NAMES:
    LIBRARY.define(_name + ARGUMENTS)
    LIBRARY.impl(_name, _on_cpu, "CPU")
    LIBRARY.impl(_name, _anywhere, "CompositeExplicitAutograd")
    torch.library.register_fake(f"secateur::{_name}", _fake, lib=LIBRARY)
torch.library.register_autograd("secateur::conv2d", _gradients, setup_context=_setup, lib=LIBRARY)
