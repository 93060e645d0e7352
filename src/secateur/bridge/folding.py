"""Fold norms of a torch model into the convolutions before them: the arithmetic of `ir.fold`, in float64."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from secateur.nn.copying import copied
from secateur.nn.norms.lagrange_norm import LagrangeNorm1d, LagrangeNorm2d

Foldable = nn.BatchNorm1d | nn.BatchNorm2d | LagrangeNorm1d | LagrangeNorm2d
"""Norms that are one affine map per channel in evaluation."""


def plain_linear(linear: nn.Linear) -> nn.Linear:
    """A linear layer of torch's own with the same parameters, evaluated once, and no gradients."""
    made = nn.Linear(linear.in_features, linear.out_features, bias=False, device="meta")
    made.weight = nn.Parameter(linear.weight.detach(), requires_grad=False)
    if linear.bias is not None:
        made.bias = nn.Parameter(linear.bias.detach(), requires_grad=False)
    return made.eval()


def plain(conv: nn.Conv1d | nn.Conv2d, weight: Tensor, bias: Tensor | None) -> nn.Conv1d | nn.Conv2d:
    """A convolution of torch's own like `conv`, with these parameters and no gradients."""
    kind = nn.Conv1d if isinstance(conv, nn.Conv1d) else nn.Conv2d
    made = kind(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,  # pyright: ignore[reportArgumentType] - a tuple of the right length
        **{name: getattr(conv, name) for name in ("stride", "padding", "dilation", "groups", "padding_mode")},
        bias=False,
        device="meta",
    )
    made.weight = nn.Parameter(weight.detach(), requires_grad=False)
    made.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)
    return made.eval()


def folded(conv: nn.Conv1d | nn.Conv2d, norm: Foldable) -> nn.Conv1d | nn.Conv2d | None:
    """norm(conv(x)) as one convolution; None where its weights are not finite in the convolution's dtype.

    With s = gamma / sqrt(variance + eps): s (W x + b - mean) + beta = (s W) x + (s (b - mean) + beta); source as in
    `ir.fold`. Computed in float64, rounded once.
    """
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    weight = conv.weight.detach()
    scale = (variance.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.detach().double()
    bias = -mean.double() if conv.bias is None else conv.bias.detach().double() - mean.double()
    bias = scale * bias
    if norm.bias is not None:
        bias = bias + norm.bias.detach().double()
    wide = weight.double() * scale.reshape(-1, *(1,) * (weight.dim() - 1))
    narrow, shift = wide.to(weight.dtype), bias.to(weight.dtype)
    if not (torch.isfinite(narrow).all() and torch.isfinite(shift).all()):
        return None
    return plain(conv, narrow, shift)


def without_training(model: nn.Module) -> nn.Module:
    """A copy of a model for inference."""
    return copied(model).eval()
