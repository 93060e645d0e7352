"""Normalisations. Statistics and scales are taken in float64: this is the meaning others are measured against."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from secateur.errors import GraphError
from secateur.ir.graph import ValueType
from secateur.ir.ops.sizes import need_float, need_shape, need_static, show

if TYPE_CHECKING:
    from jaxtyping import Float

Channels: TypeAlias = 'Float[np.ndarray, " c"]'
Image: TypeAlias = 'Float[np.ndarray, "n c *spatial"]'


def batch_norm_type(
    x: ValueType, weight: ValueType, bias: ValueType, mean: ValueType, variance: ValueType, *, eps: float
) -> ValueType:
    """x (n, c, ...), the others (c,)."""
    need_float("batch_norm", x, weight, bias, mean, variance)
    _need_channels("batch_norm", x, weight=weight, bias=bias, mean=mean, variance=variance)
    _need_eps("batch_norm", eps)
    return x


def batch_norm(x: Image, weight: Channels, bias: Channels, mean: Channels, variance: Channels, *, eps: float) -> Image:
    """(x - mean) / sqrt(variance + eps) weight + bias, per channel. Ioffe and Szegedy 2015, algorithm 2."""
    scale = (weight / np.sqrt(variance.astype(np.float64) + eps)).astype(np.float32)
    column = (-1, *(1,) * (x.ndim - 2))
    return (x - mean.reshape(column)) * scale.reshape(column) + bias.reshape(column)


def layer_norm_type(x: ValueType, weight: ValueType, bias: ValueType, *, eps: float) -> ValueType:
    """weight and bias have the shape of the trailing axes of x that are normalised."""
    need_float("layer_norm", x, weight, bias)
    need_static("layer_norm", weight.shape, "weight")
    need_shape("layer_norm", bias, weight.shape, "bias")
    if not weight.shape or x.shape[-len(weight.shape) :] != weight.shape:
        raise GraphError(f"layer_norm: x {show(x.shape)} must end in the shape of weight, {show(weight.shape)}")
    _need_eps("layer_norm", eps)
    return x


def layer_norm(
    x: Float[np.ndarray, "*shape"], weight: Float[np.ndarray, "*tail"], bias: Float[np.ndarray, "*tail"], *, eps: float
) -> Float[np.ndarray, "*shape"]:
    """(x - mean) / sqrt(variance + eps) weight + bias over the trailing axes. Ba, Kiros and Hinton 2016."""
    axes = tuple(range(x.ndim - weight.ndim, x.ndim))
    return (_standardised(x, axes, eps) * weight + bias).astype(np.float32)


def group_norm_type(x: ValueType, weight: ValueType, bias: ValueType, *, groups: int, eps: float) -> ValueType:
    """x (n, c, ...), weight and bias (c,); c a multiple of groups."""
    need_float("group_norm", x, weight, bias)
    _need_channels("group_norm", x, weight=weight, bias=bias)
    if groups < 1 or x.shape[1] % groups:
        raise GraphError(f"group_norm: {x.shape[1]} channels do not fall into {groups} groups")
    _need_eps("group_norm", eps)
    return x


def group_norm(x: Image, weight: Channels, bias: Channels, *, groups: int, eps: float) -> Image:
    """(x - mean) / sqrt(variance + eps) weight + bias, statistics per example and group. Wu and He 2018, equation 1."""
    grouped = x.reshape(len(x), groups, prod(x.shape[1:]) // groups)
    column = (-1, *(1,) * (x.ndim - 2))
    normal = _standardised(grouped, (2,), eps).reshape(x.shape)
    return (normal * weight.reshape(column) + bias.reshape(column)).astype(np.float32)


def _standardised(x: np.ndarray, axes: tuple[int, ...], eps: float) -> Float[np.ndarray, "*n"]:
    wide = x.astype(np.float64)
    wide -= wide.mean(axis=axes, keepdims=True)
    return wide / np.sqrt(np.square(wide).mean(axis=axes, keepdims=True) + eps)


def _need_channels(op: str, x: ValueType, **values: ValueType) -> None:
    if len(x.shape) < 2:
        raise GraphError(f"{op}: x {show(x.shape)} must have its channels in axis 1")
    need_static(op, x.shape[1:2], "the number of channels")
    for name, value in values.items():
        need_shape(op, value, x.shape[1:2], name)


def _need_eps(op: str, eps: float) -> None:
    if not 0 <= eps < float("inf"):
        raise GraphError(f"{op}: eps must be a finite number from 0 up, not {eps}")
