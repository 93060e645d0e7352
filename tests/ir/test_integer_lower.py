"""Which operations run in integers: what is proved, what is refused and why; a stranger's graph costs little."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from integer_networks import POOL, residual
from random_networks import Net

from secateur.ir.formats import Dense, Quantized, Stored, from_dense, on_grid
from secateur.ir.grid import Grid
from secateur.ir.integer import lower as module
from secateur.ir.integer.lower import Program, lower

EIGHT = Grid(8, np.array(0.01, np.float16))
GRID = {"weight": Grid(4, np.array(0.25, np.float16))}


def program(net: Net, **grids: Grid | None) -> Program:
    """The program of a network whose matrices lie on a grid: GRID, or another by the last part of their name."""
    tensors: dict[str, Stored] = {}
    for name, array in net.constants.items():
        grid = {**GRID, **grids}.get(name.rpartition(".")[2]) if array.ndim > 1 else None
        tensors[name] = Dense(array) if grid is None else on_grid(array, grid, nearest=True)
    return lower(net.graph(net.nodes[-1].output), tensors)


def reason(net: Net, **grids: Grid | None) -> str:
    """Why the last node is no integer; "" where it is."""
    return program(net, **grids).steps[-1].reason


def quantized(*shape: int, scale: float = 0.125, bits: int = 8) -> Net:
    net = Net(*(shape or (-1, 4, 6, 6)))
    net.quantize("x", "map", scale, bits)
    return net


def conv(net: Net, x: str = "v0", **options: Any) -> Net:
    net.conv(x, "layer", 3, 3, **options)
    return net


def test_a_residual_network_is_integer_but_for_where_it_begins():
    graph, tensors = residual()
    steps = lower(graph, tensors).steps
    assert [step.arithmetic for step in steps] == ["quantize"] + ["integer"] * (len(steps) - 1)
    assert steps[0].reason == "reads x, which is float32"


def test_layers_say_why_they_are_float():
    assert reason(conv(Net(-1, 4, 6, 6), "x")) == "reads x, which is float32"
    assert reason(conv(quantized()), weight=None) == "its weights are float32, on no grid"
    by_input = Grid(4, np.full(4, 0.25, np.float16), axis=1)
    assert reason(conv(quantized()), weight=by_input).startswith("its weights have a scale an input channel")
    nothing = conv(quantized())
    nothing.constants["layer.weight"][:] = 0
    assert (
        reason(nothing, weight=Grid(4, np.array(0.0, np.float16))) == "its weights are all zero, with a scale of zero"
    )
    twice = conv(quantized())
    twice.conv("v1", "again", 2)
    assert "sums of up to" in reason(twice)
    wild = conv(quantized())
    wild.constants["layer.bias"][0] = np.inf
    assert reason(wild) == "its bias is not finite"


def test_a_sum_that_int32_may_not_hold_is_refused_and_one_that_it_just_holds_is_not():
    """255 * 127 * n passes 2^31 - 1 at n = 66,312."""
    for inputs, fits in ((66_311, True), (66_312, False)):
        net = Net(-1, inputs)
        net.linear(net.quantize("x", "map", 0.125, signed=False), "layer", 1, bias=False)
        net.constants["layer.weight"][:] = 1.27
        said = reason(net, weight=EIGHT)
        assert said == ("" if fits else "its sums could reach 2,147,514,120, beyond int32 (2,147,483,647)")
    net = conv(quantized())
    net.constants["layer.bias"][0] = 1e9
    assert "beyond int32" in reason(net)


def test_real_codes_decide_not_the_worst_that_bits_allow():
    net = Net(-1, 70_000)
    net.linear(net.quantize("x", "map", 0.125, signed=False), "layer", 1, bias=False)
    net.constants["layer.weight"][:] = 0.01
    assert reason(net, weight=EIGHT) == ""


def test_a_bias_gets_the_fraction_that_there_is_room_for():
    net = conv(quantized())
    net.constants["layer.weight"][:] = 0.25  # 36 codes of 1, 127 at most: 4,572 < 2^13, and 2^31 / 2^13 is room
    net.constants["layer.bias"][:] = 1
    step = program(net).steps[-1]
    assert step.lowered
    assert step.lowered.parts["fraction"] == 16
    np.testing.assert_array_equal(step.lowered.parts["bias"], 32 * 2**16)  # 1 / (1/8 * 1/4)
    assert step.lowered.result.scales == (0.125 * 0.25 / 2**16,)
    net.constants["layer.bias"][:] = 1000
    step = program(net).steps[-1]
    assert step.lowered
    assert step.lowered.parts["fraction"] == 15  # 32,000 + 4,572 times 2^15 is below 2^31, times 2^16 it is not
    assert program(conv(quantized(), bias=False)).steps[-1].lowered.parts["fraction"] == 0  # pyright: ignore


def test_a_channel_with_a_scale_of_zero_keeps_its_bias():
    net = conv(quantized())
    net.constants["layer.weight"][1] = 0
    step = program(net, weight=Grid(4, np.array([0.25, 0, 0.5], np.float16))).steps[-1]
    assert step.lowered
    x = step.lowered.result
    bias = step.lowered.parts["bias"] * np.array([float(scale) for scale in x.scales])[x.where(3)]
    np.testing.assert_allclose(bias, net.constants["layer.bias"], atol=1e-4)


OTHERS = {
    "softmax": (lambda net: net.add("softmax", "v0", axis=1), "an exponential or the like"),
    "sigmoid": (lambda net: net.add("sigmoid", "v0"), "an exponential or the like"),
    "add": (lambda net: net.add("add", "v0", "v0"), "no quantizer reads its sum"),
    "float operand": (lambda net: net.add("add", "v0", "x"), "reads x, which is float32"),
    "mean of all": (lambda net: net.add("mean", "v0", axes=(0, 1), keepdims=False), "reduces over the batch"),
    "uneven": (
        lambda net: net.add("average_pool", "v0", count_include_pad=False, **(POOL | {"padding": (1, 1)})),
        "its windows have different numbers of elements, which one divisor cannot serve",
    ),
    "uneven cells": (
        lambda net: net.add("adaptive_average_pool", "v0", output=(4, 4)),
        "its windows have different numbers of elements, which one divisor cannot serve",
    ),
    "border": (
        lambda net: net.add("pad", "v0", pads=(0, 0, 0, 0, 1, 1, 0, 0), mode="constant", value=0.3),
        "pads with 0.3, which is no integer at its scale",
    ),
    "cut": (lambda net: net.add("clip", "v0", low=0.0, high=0.3), "cuts codes between two of them"),
    "cut away": (lambda net: net.add("clip", "v0", low=100.0, high=200.0), "it leaves one number only"),
    "batch product": (
        lambda net: net.add("matmul", *(net.add("permute", "v0", axes=(2, 3, *last)) for last in ((1, 0), (0, 1)))),
        "sums over the batch",
    ),
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_operations_say_why_they_are_float(case: str):
    build, said = OTHERS[case]
    net = quantized()
    build(net)
    assert reason(net) == said


ACROSS = "mixes channels whose integers have different scales"
CHANNELS = Grid(4, np.array([0.25, 0.5, 0.125], np.float16))
BY_CHANNEL = {
    "permute": (lambda net: net.add("permute", "v1", axes=(0, 2, 3, 1)), ""),
    "flatten": (lambda net: net.flatten("v1"), ""),
    "slice": (lambda net: net.add("slice", "v1", axis=1, start=1, stop=3, step=1), ""),
    "pool": (lambda net: net.add("max_pool", "v1", dilation=(1, 1), **POOL), ""),
    "mean": (lambda net: net.add("mean", "v1", axes=(2, 3), keepdims=True), ""),
    "concat": (lambda net: net.add("concat", "v1", "v1", axis=1), ""),
    "batch": (lambda net: net.add("reshape", "v1", shape=(-3, 4, 4)), ACROSS),
    "mean of channels": (lambda net: net.add("mean", "v1", axes=(1,), keepdims=True), ACROSS),
    "rows": (lambda net: net.add("concat", "v1", "v1", axis=2), ACROSS),
    "channels": (lambda net: net.add("pad", "v1", pads=(0, 0, 1, 0, 0, 0, 0, 0), mode="constant", value=0.0), ACROSS),
    "add": (lambda net: net.add("add", "v1", "v1"), "adds integers whose scales differ by channel"),
    "layer": (lambda net: net.conv("v1", "again", 3), "reads v1, sums of up to"),
}


@pytest.mark.parametrize("case", BY_CHANNEL)
def test_scales_a_channel_stay_with_their_channels_or_stop(case: str):
    build, said = BY_CHANNEL[case]
    net = conv(quantized())
    build(net)
    assert reason(net, weight=CHANNELS).startswith(said)
    assert bool(reason(net, weight=CHANNELS)) == bool(said)


def test_a_scale_too_far_from_the_codes_is_quantized_as_float():
    net = quantized(scale=60000.0)
    net.quantize("v0", "next", 2.0**-24)
    step = program(net).steps[-1]
    assert (step.arithmetic, step.reason) == ("quantize", "its scale is too far above that of the codes")


def test_a_graph_of_few_bytes_with_billions_of_scales_is_refused():
    """Channels double with every concatenation, 28 times; each has one of three scales."""
    net = conv(quantized())
    x = "v1"
    for _ in range(28):
        x = net.add("concat", x, x, axis=1)
    found = program(net, weight=CHANNELS)
    assert found.steps[-1].reason == module.TOO_LARGE
    assert found.steps[5].arithmetic == "integer"
    positions = [len(x.places) for x in found.held.values() if x.places is not None]
    assert sum(positions) < module.MOST_COST / module.POSITION_COST


def test_weights_that_are_kept_sparse_are_float():
    net = conv(quantized())
    net.constants["layer.weight"][0] = 0
    tensors = {name: from_dense(array) for name, array in net.constants.items()}
    assert not isinstance(tensors["layer.weight"], Quantized)
    assert lower(net.graph("v1"), tensors).steps[-1].reason == "its weights are float32, on no grid"
