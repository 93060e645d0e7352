"""The closed list of operations. A graph can hold these and nothing else; the laws in tests/laws run over every row."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from secateur.ir.graph import DTYPES
from secateur.ir.ops import (
    activation,
    convolution,
    elementwise,
    linear,
    norm,
    pooling,
    quantization,
    recurrent,
    reduction,
    shaping,
    transposed,
)
from secateur.ir.ops.op import Op, wide_effort

MANY = 2**20

_ROWS = (
    Op(
        "conv",
        (2, 3),
        convolution.convolution_type,
        convolution.convolve,
        {"stride": "ints", "padding": "ints", "dilation": "ints", "groups": "int"},
        convolution.convolution_macs,
        effort=convolution.convolution_effort,
    ),
    Op(
        "conv_transpose",
        (2, 3),
        transposed.transposed_type,
        transposed.transposed_convolve,
        {"stride": "ints", "padding": "ints", "output_padding": "ints", "dilation": "ints", "groups": "int"},
        transposed.transposed_macs,
        effort=transposed.transposed_effort,
    ),
    Op(
        "linear", (2, 3), linear.linear_type, linear.linear, multiplies=linear.linear_macs, effort=linear.product_effort
    ),
    Op(
        "matmul", (2, 2), linear.matmul_type, linear.matmul, multiplies=linear.matmul_macs, effort=linear.product_effort
    ),
    Op(
        "attention",
        (3, 4),
        linear.attention_type,
        linear.attention,
        {"scale": "float", "causal": "bool"},
        linear.attention_macs,
        effort=linear.attention_effort,
    ),
    Op("embedding", (2, 2), linear.embedding_type, linear.embedding),
    Op(
        "lstm",
        (5, 8),
        recurrent.lstm_type,
        recurrent.lstm,
        {"reverse": "bool", "cell": "bool"},
        recurrent.lstm_macs,
        recurrent.weights_of_lstm,
        recurrent.recurrent_effort,
    ),
    Op(
        "gru",
        (5, 6),
        recurrent.gru_type,
        recurrent.gru,
        {"reverse": "bool"},
        recurrent.other_macs,
        recurrent.weights_of_others,
        recurrent.recurrent_effort,
    ),
    Op(
        "rnn",
        (5, 6),
        recurrent.rnn_type,
        recurrent.rnn,
        {"reverse": "bool", "nonlinearity": recurrent.NONLINEARITIES},
        recurrent.other_macs,
        recurrent.weights_of_others,
        recurrent.recurrent_effort,
    ),
    Op("relu", (1, 1), activation.same_type, activation.relu),
    Op("relu6", (1, 1), activation.same_type, activation.relu6),
    Op("sigmoid", (1, 1), activation.same_type, activation.sigmoid),
    Op("tanh", (1, 1), activation.same_type, activation.tanh),
    Op("silu", (1, 1), activation.same_type, activation.silu),
    Op("hardswish", (1, 1), activation.same_type, activation.hardswish),
    Op("hardsigmoid", (1, 1), activation.same_type, activation.hardsigmoid),
    Op("leaky_relu", (1, 1), activation.leaky_relu_type, activation.leaky_relu, {"slope": "float"}),
    Op("elu", (1, 1), activation.elu_type, activation.elu, {"alpha": "float"}),
    Op("clip", (1, 1), activation.clip_type, activation.clip, {"low": "float", "high": "float"}),
    Op("prelu", (2, 2), activation.prelu_type, activation.prelu),
    Op("gelu", (1, 1), activation.gelu_type, activation.gelu, {"approximate": ("none", "tanh")}, effort=wide_effort),
    Op("softmax", (1, 1), activation.softmax_type, activation.softmax, {"axis": "int"}),
    Op("log_softmax", (1, 1), activation.softmax_type, activation.log_softmax, {"axis": "int"}),
    Op(
        "max_pool",
        (1, 1),
        pooling.max_pool_type,
        pooling.max_pool,
        {"kernel": "ints", "stride": "ints", "padding": "ints", "dilation": "ints", "ceil_mode": "bool"},
        effort=pooling.pool_effort,
    ),
    Op(
        "average_pool",
        (1, 1),
        pooling.average_pool_type,
        pooling.average_pool,
        {"kernel": "ints", "stride": "ints", "padding": "ints", "ceil_mode": "bool", "count_include_pad": "bool"},
        effort=pooling.pool_effort,
    ),
    Op(
        "adaptive_max_pool",
        (1, 1),
        pooling.adaptive_max_pool_type,
        pooling.adaptive_max_pool,
        {"output": "ints"},
        effort=pooling.adaptive_effort,
    ),
    Op(
        "adaptive_average_pool",
        (1, 1),
        pooling.adaptive_average_pool_type,
        pooling.adaptive_average_pool,
        {"output": "ints"},
        effort=pooling.adaptive_effort,
    ),
    Op("reshape", (1, 1), shaping.reshape_type, shaping.reshape, {"shape": "shape"}),
    Op("permute", (1, 1), shaping.permute_type, shaping.permute, {"axes": "ints"}),
    Op("expand", (1, 1), shaping.expand_type, shaping.expand, {"shape": "shape"}),
    Op(
        "slice",
        (1, 1),
        shaping.slice_type,
        shaping.slice_axis,
        {"axis": "int", "start": "int", "stop": "int", "step": "int"},
    ),
    Op(
        "pad",
        (1, 1),
        shaping.pad_type,
        shaping.pad,
        {"pads": "ints", "mode": tuple(shaping.PAD_MODES), "value": "float"},
    ),
    Op("concat", (1, MANY), shaping.concat_type, shaping.concat, {"axis": "int"}),
    Op("cast", (1, 1), shaping.cast_type, shaping.cast, {"dtype": DTYPES}),
    Op("add", (2, 2), elementwise.arithmetic_type, elementwise.add),
    Op("sub", (2, 2), elementwise.arithmetic_type, elementwise.sub),
    Op("mul", (2, 2), elementwise.arithmetic_type, elementwise.mul),
    Op("div", (2, 2), elementwise.quotient_type, elementwise.div),
    Op(
        "fake_quantize",
        (2, 2),
        quantization.fake_quantize_type,
        quantization.fake_quantize,
        {"bits": "int", "signed": "bool"},
    ),
    Op(
        "dynamic_quantize",
        (2, 2),
        quantization.dynamic_quantize_type,
        quantization.dynamic_quantize,
        {"bits": "int", "signed": "bool", "axes": "ints"},
        effort=quantization.dynamic_effort,
    ),
    Op("batch_norm", (5, 5), norm.batch_norm_type, norm.batch_norm, {"eps": "float"}),
    Op("layer_norm", (3, 3), norm.layer_norm_type, norm.layer_norm, {"eps": "float"}, effort=wide_effort),
    Op(
        "group_norm",
        (3, 3),
        norm.group_norm_type,
        norm.group_norm,
        {"groups": "int", "eps": "float"},
        effort=wide_effort,
    ),
    Op("mean", (1, 1), reduction.mean_type, reduction.mean, {"axes": "ints", "keepdims": "bool"}),
    Op("sum", (1, 1), reduction.sum_type, reduction.sum_axes, {"axes": "ints", "keepdims": "bool"}),
)

OPS: Mapping[str, Op] = MappingProxyType({row.name: row for row in _ROWS})
