"""Mean and variance of every channel of a layer's input, and their gradient in it.

mu = mean(x), v = mean((x - mu)^2) over batch and positions; with M values a channel, dx = dmu / M + 2 dv / M (x - mu).
Generated code (`kernels.moments`, one pass each) is used where `nn.generated` says so; elsewhere torch's own operators.
Neither is recorded by autograd: `norms.penalty` calls both.
"""

from __future__ import annotations

import torch
from torch import Tensor

from secateur.nn.generated import moments_for


def write_moments(x: Tensor, out: Tensor) -> None:
    """Mean and variance of x, (batch, channels, ...) and not empty, into out, (2, channels) without gaps, float32 at
    least."""
    if (code := moments_for(x)) is not None:
        place = out.data_ptr()
        code.forward(x.data_ptr(), place, place + 4 * out.shape[1], *code.sizes)
        return
    wide, axes = _wide(x), _axes(x)
    mean = wide.mean(axes)  # torch.var_mean takes ten times as long here (2.13, CPU)
    # By differences from the mean: a large mean costs no digits.
    spread = torch.linalg.vector_norm(wide - _broad(mean, wide), dim=axes)
    variance = spread.square_().mul_(x.shape[1] / x.numel())
    out.copy_(torch.stack([mean, variance]))


def moments_pull(x: Tensor, moments: Tensor, gradient: Tensor) -> Tensor:
    """The gradient of x, in its dtype and memory format, from that of its moments; both as `write_moments` has them."""
    if (code := moments_for(x)) is not None:
        pull, toward = torch.empty_like(x), gradient.data_ptr()
        row = toward + 4 * gradient.shape[1]
        code.backward(x.data_ptr(), pull.data_ptr(), moments.data_ptr(), toward, row, *code.sizes)
        return pull
    wide = _wide(x)
    offset, slope = (gradient * (x.shape[1] / x.numel())).unbind()
    pull = (wide - _broad(moments[0], wide)).mul_(_broad(2 * slope, wide)).add_(_broad(offset, wide))
    return pull.to(x.dtype)


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _axes(x: Tensor) -> list[int]:
    return [axis for axis in range(x.dim()) if axis != 1]


def _broad(per_channel: Tensor, x: Tensor) -> Tensor:
    return per_channel.reshape(1, -1, *(1,) * (x.dim() - 2))
