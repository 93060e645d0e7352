"""An affine map per channel together with mean and variance of its input, in one differentiable call.

y = gain x + shift, mu = mean(x), v = mean((x - mu)^2) over batch and positions. Backward, with M values a channel:

    dx = gain dy + dmu / M + 2 dv (x - mu) / M
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class AffineMoments(torch.autograd.Function):
    """(x, gain, shift) -> (y, mean, variance); x is (batch, channels, ...), the others (channels,).

    Statistics are float32 at least. Of the input only itself is kept for backward.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The variance by differences from the mean: a large mean costs no digits."""
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        axes = _axes(x)
        mean = wide.mean(axes)  # torch.var_mean takes ten times as long here (2.13, CPU)
        spread = torch.linalg.vector_norm(wide - _broad(mean, wide), dim=axes)
        ctx.save_for_backward(x, gain, mean)
        return affine(x, gain, shift), mean, spread.square_().mul_(x.shape[1] / x.numel())

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """As above; dgain = sum(x dy), dshift = sum(dy)."""
        x, gain, mean = ctx.saved_tensors
        dy, dmean, dvariance = gradients
        slope = 2 * dvariance * (x.shape[1] / x.numel())
        offset = dmean * (x.shape[1] / x.numel()) - slope * mean
        dx = dy * _broad(gain, x)
        dx.add_(_broad(offset, x)).addcmul_(x, _broad(slope, x))
        return dx, (x * dy).sum(_axes(x)).to(gain.dtype), dy.sum(_axes(x)).to(gain.dtype)


def affine(x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
    """gain x + shift, per channel, in x's dtype."""
    return (x * _broad(gain, x)).add_(_broad(shift, x))


def _axes(x: Tensor) -> list[int]:
    return [axis for axis in range(x.dim()) if axis != 1]


def _broad(per_channel: Tensor, x: Tensor) -> Tensor:
    return per_channel.to(x.dtype).reshape(1, -1, *(1,) * (x.dim() - 2))
