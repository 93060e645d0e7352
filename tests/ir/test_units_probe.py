from __future__ import annotations

import numpy as np
import pytest
from random_networks import Net, assert_close, check_valid, outputs_of

from secateur.ir.dead_units import remove_dead_units
from secateur.ir.interpret import run_graph
from secateur.ir.units.probe import constant_values
from secateur.ir.units.rules import trace_units


def values_of(net: Net) -> dict[str, np.ndarray]:
    flow = trace_units(net.graph(net.nodes[-1].output), net.constants)
    live = {
        layer.node.output: flow.constants[layer.weight].reshape(len(layer.rows), -1).any(1) for layer in flow.layers
    }
    biases = {layer.node.output: flow.constants[layer.bias].astype(float) for layer in flow.layers if layer.bias}
    return constant_values(flow, live, biases)


def test_what_is_found_constant_is_what_the_graph_computes():
    net = Net(-1, 2, 4, 4, seed=3)
    x = net.conv("x", "conv", 3)
    net.constants["conv.weight"][1] = 0
    x = net.add("silu", net.batch_norm(x, "norm"))
    x = net.conv(x, "depthwise", 3, 3, padding=1, groups=3)
    net.constants["depthwise.weight"][2] = 0
    x = net.add(
        "average_pool", x, kernel=(3, 3), stride=(1, 1), padding=(1, 1), ceil_mode=False, count_include_pad=True
    )
    x = net.flatten(net.add("permute", x, axes=(0, 2, 3, 1)))
    values = values_of(net)
    known = np.isfinite(values[x])
    np.testing.assert_array_equal(known.reshape(16, 3), [[False, True, True]] * 16)
    for seed in range(3):
        (result,) = outputs_of(net.graph(x), net.constants, seed=seed)
        np.testing.assert_array_equal(result[:, known[0]], np.repeat(values[x][known][None], 3, axis=0))


def test_a_product_with_zero_is_zero():
    net = Net(-1, 2)
    x = net.linear("x", "m", 2)
    net.constants["m.weight"][0], net.constants["m.bias"][:] = 0, 0
    y = net.add("mul", net.add("relu", x), net.add("tanh", "x"))
    np.testing.assert_array_equal(values_of(net)[y], [[0, np.nan]])


def interleaved() -> Net:
    """Transposes examples and channels and flattens: element 0 of an example is not its own channel 0."""
    net = Net(-1, 3)
    x = net.add("permute", net.linear("x", "m", 3), axes=(1, 0))
    return read(net, net.add("reshape", x, shape=(-1, 3)))


def stacked() -> Net:
    """Examples of two values below one another: example 0 of the result holds two examples of the first value."""
    net = Net(-1, 3)
    x = net.linear("x", "m", 3)
    x = net.add("concat", x, net.add("relu", x), axis=0)
    return read(net, net.add("reshape", x, shape=(-1, 6)))


def summed() -> Net:
    """A constant summed over the examples is as many times as large."""
    net = Net(-1, 3)
    return read(net, net.add("sum", net.linear("x", "m", 3), axes=(0,), keepdims=True))


def read(net: Net, x: str) -> Net:
    net.linear(x, "reader", 2)
    net.constants["m.weight"][:2] = 0
    net.constants["m.bias"][:] = (-0.5, 0.5, 1.0)
    return net


@pytest.mark.parametrize("build", [interleaved, stacked, summed])
@pytest.mark.parametrize("batch", [1, 2, 3])
def test_what_mixes_examples_is_not_constant(build, batch: int):
    net = build()
    graph = net.graph(net.nodes[-1].output)
    smaller, tensors, _ = remove_dead_units(graph, net.constants)
    check_valid(smaller, tensors)
    assert_close(outputs_of(graph, net.constants, batch=batch), outputs_of(smaller, tensors, batch=batch))


def test_an_overflow_is_not_a_constant():
    net = Net(-1, 2)
    x = net.linear("x", "m", 2)
    net.constants["m.weight"][:] = 0
    net.constants["m.bias"][:] = (1e30, 1)
    y = net.add("mul", x, x)
    assert np.isinf(run_graph(net.graph(y), net.constants, [np.ones((1, 2), np.float32)])[0][0, 0])
    np.testing.assert_array_equal(values_of(net)[y], [[np.nan, 1]])
