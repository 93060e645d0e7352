from __future__ import annotations

import numpy as np
from random_networks import Net

from secateur.ir.units.rules import trace_units
from secateur.ir.units.settle import LAST, Settlement, settle


def settled(net: Net) -> Settlement:
    return settle(trace_units(net.graph(net.nodes[-1].output), net.constants))


def chain(*sizes: int) -> Net:
    net = Net(-1, sizes[0])
    x = "x"
    for i, size in enumerate(sizes[1:]):
        x = net.linear(x, f"m{i}", size)
    return net


def test_constants_travel_through_layers_and_round_once():
    net = chain(2, 3, 3, 2)
    net.constants["m0.weight"][:2] = 0
    net.constants["m1.weight"][0, 2] = 0  # neuron 0 of m1 reads only constants, so it is one
    result = settled(net)
    wide = {name: array.astype(np.float64) for name, array in net.constants.items()}
    middle = wide["m1.bias"] + wide["m1.weight"][:, :2] @ wide["m0.bias"][:2]
    np.testing.assert_array_equal(result.biases["v1"][1:], middle[1:])
    passed_on = np.float32(middle[0]).astype(np.float64)
    np.testing.assert_array_equal(result.biases["v2"], wide["m2.bias"] + wide["m2.weight"][:, 0] * passed_on)
    np.testing.assert_array_equal(result.alive, [False, False, True, False, True, True, True, True])


def test_a_zero_constant_changes_no_bias():
    net = chain(2, 3, 2)
    net.constants["m0.weight"][0] = 0
    net.constants["m0.bias"][0] = 0
    result = settled(net)
    assert result.biases == {}
    assert not result.alive[0]


def test_rows_that_go_take_up_no_constant():
    """Neuron 0 of m0 is a constant that only neurons without a reader read; all go in one round."""
    net = chain(2, 2, 3, 2)
    net.constants["m0.weight"][0] = 0
    net.constants["m1.weight"][2, 0] = 0
    net.constants["m2.weight"][:, :2] = 0
    assert settled(net).biases == {}


def test_one_hollow_unit_stands_for_a_dead_layer():
    net = chain(2, 3, 3, 2)
    net.constants["m1.weight"][:] = 0
    result = settled(net)
    np.testing.assert_array_equal(result.hollow, [True, False, False] * 2 + [False, False])
    np.testing.assert_array_equal(result.alive, [True, False, False] * 2 + [True, True])
    assert [result.reasons[root] for root in (0, 3)] == [LAST, LAST]
