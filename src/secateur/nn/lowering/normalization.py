"""Batch, layer, group, instance and root-mean-square norm. A missing gain is ones, a missing shift zeros."""

from __future__ import annotations

import numpy as np

from secateur.errors import GraphError
from secateur.nn.lowering.builder import Builder, Call, Result


def batch_norm(build: Builder, call: Call) -> Result:
    """Batch norm in evaluation: by its running statistics."""
    if call.get("running_mean") is None:
        raise GraphError("normalises by the statistics of the batch itself: train with track_running_stats=True")
    x = build.real(call["input"])
    statistics = (build.real(call["running_mean"]), build.real(call["running_var"]))
    y = build.emit("batch_norm", x, *_affine(build, call, build.shape(x)[1:2]), *statistics, eps=float(call["eps"]))
    return y if len(call.types) == 1 else (y, *(None for _ in call.types[1:]))


def layer_norm(build: Builder, call: Call) -> str:
    """Layer norm over the trailing dimensions."""
    affine = _affine(build, call, tuple(int(size) for size in call["normalized_shape"]))
    return build.emit("layer_norm", build.real(call["input"]), *affine, eps=float(call["eps"]))


def group_norm(build: Builder, call: Call) -> str:
    """Group norm over the channels, axis 1."""
    return _grouped(build, call, int(call["num_groups"]))


def instance_norm(build: Builder, call: Call) -> str:
    """Instance norm by each example's own statistics: group norm with one channel a group."""
    if not call["use_input_stats"]:
        raise GraphError("normalises each example by running statistics (track_running_stats=True): use batch norm")
    return _grouped(build, call, build.shape(build.value(call["input"]))[1])


def _grouped(build: Builder, call: Call, groups: int) -> str:
    x = build.real(call["input"])
    affine = _affine(build, call, build.shape(x)[1:2])
    return build.emit("group_norm", x, *affine, groups=groups, eps=float(call["eps"]))


def rms_norm(build: Builder, call: Call) -> str:
    """Root-mean-square norm over the last dimension, as half of a layer norm.

    The values and their negatives together have mean 0 and variance mean(x^2), so the first half of
    layer_norm(concat(x, -x)) is x / sqrt(mean(x^2) + eps).
    """
    if len(call["normalized_shape"]) != 1:
        raise GraphError("normalises over several dimensions: flatten them first")
    x = build.real(call["input"])
    axis, size = len(build.shape(x)) - 1, int(call["normalized_shape"][0])
    eps = float(np.finfo(np.float32).eps) if call["eps"] is None else float(call["eps"])
    mirrored = build.emit("concat", x, build.emit("mul", x, build.scalar(-1.0)), axis=axis)
    affine = (_filled(build, 1.0, (2 * size,)), _filled(build, 0.0, (2 * size,)))
    y = build.slice(build.emit("layer_norm", mirrored, *affine, eps=eps), axis, 0, size)
    return y if call["weight"] is None else build.emit("mul", y, build.real(call["weight"]))


def _affine(build: Builder, call: Call, shape: tuple[int, ...]) -> tuple[str, str]:
    weight, bias = call["weight"], call["bias"]
    return (
        _filled(build, 1.0, shape) if weight is None else build.real(weight),
        _filled(build, 0.0, shape) if bias is None else build.real(bias),
    )


def _filled(build: Builder, number: float, shape: tuple[int, ...]) -> str:
    return build.constant(np.full(shape, number, dtype=np.float32), "ones" if number else "zeros")
