"""For every row of OPS: random cases that fit its shape rule, and its twin in torch. Data for test_ops_law.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from op_case_parts import Case, Rng, Twin, any_shape, f32, flag, image, normal, one, some, wild
from recurrent_cases import RECURRENT

from secateur.ir.graph import ValueType
from secateur.nn.dynamic_levels import dynamic_quantize

# --- products ---------------------------------------------------------------------------------------------------------


def draw_conv(rng: Rng) -> Case:
    rank, groups = one(rng, 1, 3), one(rng, 1, 3)
    depth, outputs = one(rng, 1, 3), groups * one(rng, 1, 3)
    kernel, dilation, stride, padding = (some(rng, low, high, rank) for low, high in ((1, 3), (1, 2), (1, 3), (0, 2)))
    sizes = [
        max(1, (k - 1) * d + 1 - 2 * p) + one(rng, 0, 4) for k, d, p in zip(kernel, dilation, padding, strict=True)
    ]
    types = [f32(-1, groups * depth, *sizes), f32(outputs, depth, *kernel)] + [f32(outputs)] * one(rng, 0, 1)
    return types, {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


def torch_conv(x, weight, *bias, stride, padding, dilation, groups):
    convolve = (F.conv1d, F.conv2d, F.conv3d)[x.ndim - 3]
    return convolve(x, weight, *bias or (None,), stride, padding, dilation, groups)


def draw_conv_transpose(rng: Rng) -> Case:
    rank, groups = one(rng, 1, 3), one(rng, 1, 3)
    channels, width = groups * one(rng, 1, 3), one(rng, 1, 3)
    kernel, dilation, stride = (some(rng, 1, high, rank) for high in (3, 2, 3))
    more = tuple(one(rng, 0, max(s, d) - 1) for s, d in zip(stride, dilation, strict=True))
    sizes = some(rng, 1, 4, rank)
    reach = [(n - 1) * s + d * (k - 1) for n, s, d, k in zip(sizes, stride, dilation, kernel, strict=True)]
    padding = tuple(one(rng, 0, min(2, (r + m) // 2)) for r, m in zip(reach, more, strict=True))
    types = [f32(-1, channels, *sizes), f32(channels, width, *kernel)] + [f32(groups * width)] * one(rng, 0, 1)
    spread = {"stride": stride, "padding": padding, "output_padding": more, "dilation": dilation}
    return types, {**spread, "groups": groups}


def torch_conv_transpose(x, *parameters, stride, padding, output_padding, dilation, groups):
    weight, *bias = parameters
    convolve = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[x.ndim - 3]
    if 0 in x.shape:  # torch refuses an empty batch: the shape comes from a batch of one
        return convolve(
            x.new_zeros(1, *x.shape[1:]), weight, *bias or (None,), stride, padding, output_padding, groups, dilation
        )[:0]
    return convolve(x, weight, *bias or (None,), stride, padding, output_padding, groups, dilation)


def draw_linear(rng: Rng) -> Case:
    lead, (fan_in, fan_out) = any_shape(rng), some(rng, 1, 7, 2)
    return [f32(*lead, fan_in), f32(fan_out, fan_in)] + [f32(fan_out)] * one(rng, 0, 1), {}


def draw_matmul(rng: Rng) -> Case:
    i, j, k = some(rng, 1, 5, 3)
    a, b = [((-1, 3), (-1, 3)), ((-1, 1), (3,)), ((), (-1,)), ((-2,), (-2,)), ((), ())][one(rng, 0, 4)]
    return [f32(*a, i, j), f32(*b, j, k)], {}


def draw_attention(rng: Rng) -> Case:
    queries, keys, depth, width = some(rng, 1, 5, 4)
    types = [f32(-1, 2, queries, depth), f32(-1, 2, keys, depth), f32(-1, 2, keys, width)]
    kind = one(rng, 0, 3)
    if kind < 2:
        mask = [(-1, 1, queries, keys), (queries, keys), (-1, 1, 1, keys), (-1, 2, queries, keys)][one(rng, 0, 3)]
        types.append(ValueType(mask, "bool" if kind else "float32"))
    return types, {"scale": float(rng.uniform(0.2, 2)), "causal": kind == 2}


def fill_attention(rng: Rng, shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
    """An infinite mask hides a key just as a bool one does; a query that sees nothing occurs too."""
    arrays = normal(rng, shapes)
    for mask in arrays[3:]:
        mask[rng.random(mask.shape) < 0.4] = -np.inf
    return arrays


def torch_attention(q, k, v, *mask, scale, causal):
    mask = tuple(m.to(q.dtype) if m.is_floating_point() else m for m in mask)
    return F.scaled_dot_product_attention(q, k, v, *mask, is_causal=causal, scale=scale)


def draw_embedding(rng: Rng) -> Case:
    return [ValueType(any_shape(rng), "int64"), f32(*some(rng, 1, 5, 2))], {}


def fill_embedding(rng: Rng, shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
    return [rng.integers(0, shapes[1][0], shapes[0]), *normal(rng, shapes[1:])]


# --- activations ------------------------------------------------------------------------------------------------------


def draw_activation(rng: Rng) -> Case:
    return [f32(*any_shape(rng))], {}


def draw_number(name: str) -> Callable[[Rng], Case]:
    return lambda rng: ([f32(*any_shape(rng))], {name: float(rng.uniform(-0.5, 2))})


def draw_clip(rng: Rng) -> Case:
    low, high = sorted(float(edge) for edge in rng.standard_normal(2))
    return [f32(*any_shape(rng))], {"low": low if flag(rng) else -np.inf, "high": high if flag(rng) else np.inf}


def draw_prelu(rng: Rng) -> Case:
    x = (-1, *some(rng, 1, 5, one(rng, 1, 3)))
    return [f32(*x), f32(x[1] if flag(rng) else 1)], {}


def draw_softmax(rng: Rng) -> Case:
    x = any_shape(rng)
    return [f32(*x)], {"axis": one(rng, 0, len(x) - 1)}


# --- pooling ----------------------------------------------------------------------------------------------------------


def draw_pool(rng: Rng) -> Case:
    rank = one(rng, 1, 3)
    kernel, stride = some(rng, 1, 4, rank), some(rng, 1, 4, rank)
    padding = tuple(one(rng, 0, taps // 2) for taps in kernel)
    attributes = {"kernel": kernel, "stride": stride, "padding": padding, "ceil_mode": flag(rng)}
    return [f32(*image(rng, rank, least=4))], attributes


def draw_average_pool(rng: Rng) -> Case:
    types, attributes = draw_pool(rng)
    return types, attributes | {"count_include_pad": flag(rng)}


def draw_max_pool(rng: Rng) -> Case:
    types, attributes = draw_pool(rng)
    dilation = some(rng, 1, 2, len(attributes["kernel"]))
    sizes = tuple(size + 3 for size in types[0].shape[2:])
    return [f32(*types[0].shape[:2], *sizes)], attributes | {"dilation": dilation}


def torch_max_pool(x, *, kernel, stride, padding, dilation, ceil_mode):
    pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[len(kernel) - 1]
    return pool(x, kernel, stride, padding, dilation, ceil_mode)


def torch_average_pool(x, *, kernel, stride, padding, ceil_mode, count_include_pad):
    pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[len(kernel) - 1]
    return pool(x, kernel, stride, padding, ceil_mode, count_include_pad)


def draw_adaptive(rng: Rng) -> Case:
    rank = one(rng, 1, 3)
    return [f32(*image(rng, rank))], {"output": some(rng, 1, 5, rank)}


def torch_adaptive_average(x, *, output):
    return (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[len(output) - 1](x, output)


def torch_adaptive_max(x, *, output):
    return (F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d)[len(output) - 1](x, output)


# --- moving values ----------------------------------------------------------------------------------------------------


def draw_reshape(rng: Rng) -> Case:
    k, a, b = some(rng, 1, 4, 3)
    shapes = [(-k, a, b), (-k, a * b), (-k * a, b), (-k * a * b,), (-1, k, a, b), (k, -1, 1, a * b), (a, b, -k)]
    x, shape = rng.permutation(len(shapes))[:2]
    return [ValueType(shapes[x], "int64" if flag(rng) else "float32")], {"shape": shapes[shape]}


def draw_permute(rng: Rng) -> Case:
    x = any_shape(rng)
    return [f32(*x)], {"axes": tuple(int(axis) for axis in rng.permutation(len(x)))}


def draw_expand(rng: Rng) -> Case:
    target = (*some(rng, 1, 3, one(rng, 0, 2)), -one(rng, 1, 2), *some(rng, 2, 4, 2))
    tail = target[one(rng, 0, len(target) - 1) :]
    return [f32(*(1 if flag(rng) else size for size in tail))], {"shape": target}


def draw_slice(rng: Rng) -> Case:
    x = (-1, *some(rng, 1, 7, one(rng, 1, 3)))
    axis = one(rng, 1, len(x) - 1)
    start = one(rng, 0, x[axis] - 1)
    return [f32(*x)], {"axis": axis, "start": start, "stop": one(rng, start + 1, x[axis]), "step": one(rng, 1, 3)}


def torch_slice(x, *, axis, start, stop, step):
    return x[(slice(None),) * axis + (slice(start, stop, step),)]


def draw_pad(rng: Rng) -> Case:
    mode = ("constant", "reflect", "replicate", "circular")[one(rng, 0, 3)]
    rank = one(rng, 1, 3)
    x = image(rng, rank, least=3)
    pads = (0, 0, 0, 0, *some(rng, 0, 2, 2 * rank))
    if mode == "constant" and flag(rng):
        pads = (0, 0, *some(rng, 0, 2, 2), *pads[4:])
    return [f32(*x)], {"pads": pads, "mode": mode, "value": float(rng.normal()) if mode == "constant" else 0.0}


def torch_pad(x, *, pads, mode, value):
    if mode != "constant":
        pads = pads[4:]  # torch pads the spatial axes of an image only
    backwards = [edge for axis in range(len(pads) // 2)[::-1] for edge in pads[2 * axis : 2 * axis + 2]]
    if 0 in x.shape:  # torch refuses an empty batch in some modes; the border of nothing is nothing
        return F.pad(x, backwards)
    return F.pad(x, backwards, mode=mode, value=value)


def draw_concat(rng: Rng) -> Case:
    x = any_shape(rng)
    axis = one(rng, 0, len(x) - 1)
    sign = -1 if axis == 0 else 1
    parts = [(*x[:axis], sign * one(rng, 1, 3), *x[axis + 1 :]) for _ in range(one(rng, 1, 4))]
    return [f32(*part) for part in parts], {"axis": axis}


def draw_cast(rng: Rng) -> Case:
    source, dtype = (("float32", "int64", "bool")[one(rng, 0, 2)] for _ in range(2))
    return [ValueType(any_shape(rng), source)], {"dtype": dtype}


def torch_cast(x, *, dtype):
    return x.to(getattr(torch, dtype))


# --- arithmetic, norms, reductions ------------------------------------------------------------------------------------


def draw_pair(rng: Rng) -> Case:
    x = (-2, *some(rng, 1, 4, 3))
    tail = x[one(rng, 0, len(x)) :]
    other = tuple(1 if flag(rng) else size for size in tail)
    pair = [f32(*x), f32(*other)]
    return pair[:: 1 if flag(rng) else -1], {}


def fill_quotient(rng: Rng, shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
    a, b = normal(rng, shapes)
    return [a, np.copysign(np.abs(b) + np.float32(0.5), b)]


def draw_eps(rng: Rng) -> dict[str, float]:
    return {"eps": float(rng.uniform(1e-6, 0.5))}


def draw_batch_norm(rng: Rng) -> Case:
    x = image(rng, one(rng, 0, 3))
    return [f32(*x), *[f32(x[1])] * 4], draw_eps(rng)


def fill_batch_norm(rng: Rng, shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
    *arrays, variance = normal(rng, shapes)
    return [*arrays, np.abs(variance)]


def draw_fake_quantize(rng: Rng) -> Case:
    return [f32(*any_shape(rng)), f32()], {"bits": one(rng, 2, 8), "signed": flag(rng)}


def fill_fake_quantize(rng: Rng, shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
    """Scales are float16 numbers, as in files, and small enough that some values lie beyond the last code."""
    x, _ = normal(rng, shapes)
    return [x, np.array(2 ** rng.uniform(-8, 0), np.float16).astype(np.float32)]


def torch_fake_quantize(x, scale, *, bits, signed):
    largest = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
    return torch.clamp(torch.floor(x / scale + 0.5), -largest if signed else 0, largest) * scale


def draw_dynamic_quantize(rng: Rng) -> Case:
    lead, trail = any_shape(rng), some(rng, 1, 5, one(rng, 1, 2))
    axes = tuple(range(len(lead) + one(rng, 0, len(trail) - 1), len(lead) + len(trail)))
    return [f32(*lead, *trail), f32()], {"bits": one(rng, 2, 8), "signed": flag(rng), "axes": axes}


def torch_dynamic_quantize(x, least, *, bits, signed, axes):
    return dynamic_quantize(x, least, bits, signed=signed, axes=axes)


def torch_batch_norm(x, weight, bias, mean, variance, *, eps):
    return F.batch_norm(x, mean, variance, weight, bias, eps=eps)


def draw_layer_norm(rng: Rng) -> Case:
    lead, trail = any_shape(rng), some(rng, 1, 4, one(rng, 1, 2))
    return [f32(*lead, *trail), f32(*trail), f32(*trail)], draw_eps(rng)


def torch_layer_norm(x, weight, bias, *, eps):
    return F.layer_norm(x, weight.shape, weight, bias, eps)


def draw_group_norm(rng: Rng) -> Case:
    groups, depth = some(rng, 1, 3, 2)
    x = (-1, groups * depth, *some(rng, 2, 4, one(rng, 1, 3)))
    return [f32(*x), f32(x[1]), f32(x[1])], {"groups": groups, **draw_eps(rng)}


def torch_group_norm(x, weight, bias, *, groups, eps):
    return F.group_norm(x, groups, weight, bias, eps)


def draw_reduction(rng: Rng) -> Case:
    x = any_shape(rng)
    axes = rng.permutation(len(x))[: one(rng, 1, len(x))]
    return [f32(*x)], {"axes": tuple(int(axis) for axis in axes), "keepdims": flag(rng)}


def draw_sum(rng: Rng) -> Case:
    types, attributes = draw_reduction(rng)
    return [ValueType(types[0].shape, "int64" if flag(rng) else "float32")], attributes


TWINS: Mapping[str, Twin] = {
    "conv": Twin(draw_conv, torch_conv),
    "conv_transpose": Twin(draw_conv_transpose, torch_conv_transpose),
    "linear": Twin(draw_linear, F.linear),
    "matmul": Twin(draw_matmul, torch.matmul),
    "attention": Twin(draw_attention, torch_attention, fill=fill_attention),
    "embedding": Twin(draw_embedding, F.embedding, exact=True, fill=fill_embedding),
    **RECURRENT,
    "relu": Twin(draw_activation, F.relu, exact=True, fill=wild),
    "relu6": Twin(draw_activation, F.relu6, exact=True, fill=wild),
    "sigmoid": Twin(draw_activation, torch.sigmoid, fill=wild),
    "tanh": Twin(draw_activation, torch.tanh, fill=wild),
    "silu": Twin(draw_activation, F.silu, fill=wild),
    "hardswish": Twin(draw_activation, F.hardswish, fill=wild),
    "hardsigmoid": Twin(draw_activation, F.hardsigmoid, fill=wild),
    "leaky_relu": Twin(draw_number("slope"), lambda x, *, slope: F.leaky_relu(x, slope), fill=wild),
    "elu": Twin(draw_number("alpha"), F.elu, fill=wild),
    "clip": Twin(draw_clip, lambda x, *, low, high: F.hardtanh(x, low, high), fill=wild),
    "prelu": Twin(draw_prelu, F.prelu),
    "gelu": Twin(
        lambda rng: ([f32(*any_shape(rng))], {"approximate": ("none", "tanh")[one(rng, 0, 1)]}), F.gelu, fill=wild
    ),
    "log_softmax": Twin(draw_softmax, lambda x, *, axis: F.log_softmax(x, axis), fill=wild),
    "softmax": Twin(draw_softmax, lambda x, *, axis: F.softmax(x, axis), fill=wild),
    "max_pool": Twin(draw_max_pool, torch_max_pool, exact=True),
    "average_pool": Twin(draw_average_pool, torch_average_pool),
    "adaptive_max_pool": Twin(draw_adaptive, torch_adaptive_max, exact=True),
    "adaptive_average_pool": Twin(draw_adaptive, torch_adaptive_average),
    "reshape": Twin(draw_reshape, lambda x, *, shape: x.reshape(shape), exact=True),
    "permute": Twin(draw_permute, lambda x, *, axes: x.permute(axes), exact=True),
    "expand": Twin(draw_expand, lambda x, *, shape: x.expand(shape), exact=True),
    "slice": Twin(draw_slice, torch_slice, exact=True),
    "pad": Twin(draw_pad, torch_pad),
    "concat": Twin(draw_concat, lambda *xs, axis: torch.cat(xs, axis), exact=True),
    "cast": Twin(draw_cast, torch_cast, exact=True, fill=wild),
    "add": Twin(draw_pair, torch.add),
    "sub": Twin(draw_pair, torch.sub),
    "mul": Twin(draw_pair, torch.mul),
    "div": Twin(draw_pair, torch.div, fill=fill_quotient),
    "fake_quantize": Twin(draw_fake_quantize, torch_fake_quantize, fill=fill_fake_quantize),
    "dynamic_quantize": Twin(draw_dynamic_quantize, torch_dynamic_quantize, exact=True, fill=fill_fake_quantize),
    "batch_norm": Twin(draw_batch_norm, torch_batch_norm, fill=fill_batch_norm),
    "layer_norm": Twin(draw_layer_norm, torch_layer_norm),
    "group_norm": Twin(draw_group_norm, torch_group_norm),
    "mean": Twin(draw_reduction, lambda x, *, axes, keepdims: x.mean(axes, keepdims)),
    "sum": Twin(draw_sum, lambda x, *, axes, keepdims: x.sum(axes, keepdims)),
}
