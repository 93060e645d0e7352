from __future__ import annotations

import numpy as np
from random_networks import Net

from secateur.ir.records import UnitGroup
from secateur.ir.units.compact import compact, unit_groups
from secateur.ir.units.rules import trace_units
from secateur.ir.units.settle import settle


def test_attributes_and_types_count_what_is_left():
    net = Net(-1, 2, 4, 4)
    x = net.conv("x", "first", 6)
    net.constants["first.weight"][[0, 4]] = 0
    net.constants["first.bias"][[0, 4]] = 0
    left = net.add("slice", x, axis=1, start=0, stop=3, step=1)
    right = net.add("slice", x, axis=1, start=3, stop=6, step=1)
    pooled = net.add("mean", net.add("concat", right, left, axis=1), axes=(2, 3), keepdims=True)
    net.conv(net.add("expand", pooled, shape=(-1, 6, 4, 4)), "last", 2)
    flow = trace_units(net.graph(net.nodes[-1].output), net.constants)
    settled = settle(flow)
    graph, tensors, axes = compact(flow, settled)
    attributes = [node.attributes for node in graph.nodes]
    assert (attributes[1]["start"], attributes[1]["stop"]) == (0, 2)
    assert (attributes[2]["start"], attributes[2]["stop"]) == (2, 4)
    assert attributes[5]["shape"] == (-1, 4, 4, 4)
    assert [graph.types[node.output].shape[1] for node in graph.nodes] == [4, 2, 2, 4, 4, 4, 2]
    groups, records = unit_groups(axes, settled)
    assert groups == (
        UnitGroup(6, np.array([False, True, True, True, False, True])),
        UnitGroup(6, np.array([True, False, True, False, True, True])),
    )
    assert records == {
        "first.weight": {0: (0, 1)},
        "first.bias": {0: (0, 1)},
        "last.weight": {1: (1, 1)},
    }
    assert tensors["last.weight"].shape == (2, 4, 1, 1)


def test_an_untouched_graph_keeps_its_tensors():
    net = Net(-1, 3)
    net.linear(net.linear("x", "a", 4), "b", 2)
    graph = net.graph(net.nodes[-1].output)
    flow = trace_units(graph, net.constants)
    settled = settle(flow)
    same, tensors, axes = compact(flow, settled)
    assert same == graph
    assert all(tensors[name] is array for name, array in net.constants.items())
    assert unit_groups(axes, settled) == ((), {})
