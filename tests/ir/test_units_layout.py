from __future__ import annotations

import numpy as np
from random_networks import Net

from secateur.ir.units.layout import UnitFlow


def flow_of(net: Net) -> UnitFlow:
    return UnitFlow(net.graph(net.nodes[-1].output), net.constants)


def linear() -> Net:
    net = Net(-1, 2)
    net.add("mul", net.linear(net.linear("x", "a", 3), "b", 3), net.constant("c", np.ones(3)))
    return net


def test_ties_are_transitive_and_pins_reach_everything_tied():
    flow = flow_of(linear())
    a, b, c = flow.fresh(3), flow.fresh(3), flow.fresh(3)
    flow.tie(a[:2], b[1:])
    flow.tie(b[1:], c[:2])
    roots = flow.roots()
    assert len(set(roots.tolist())) == 5
    assert roots[a[0]] == roots[b[1]] == roots[c[0]]
    flow.pin(c[[0]], "first")
    flow.pin(a[[0]], "second")
    assert flow.pinned() == {int(roots[a[0]]): "first"}


def test_units_on_a_shared_or_computed_tensor_are_pinned():
    net = linear()
    net.add("add", net.nodes[-1].output, "c")
    flow = flow_of(net)
    units = flow.fresh(3)
    flow.lay("c", 0, units)
    assert set(flow.pinned().values()) == {"c is shared or computed"}
    assert "c" not in flow.axes


def test_only_the_unit_that_is_not_finite_is_pinned():
    net = linear()
    net.constants["c"][1] = np.inf
    flow = flow_of(net)
    units = flow.fresh(3)
    flow.lay("c", 0, units)
    assert flow.pinned() == {int(units[1]): "c is not finite there"}
    np.testing.assert_array_equal(flow.axes["c"][0], units)


def test_a_result_is_not_private():
    net = linear()
    graph = net.graph(net.nodes[-1].output, "c")
    assert not UnitFlow(graph, net.constants).is_private("c")
    assert UnitFlow(graph, net.constants).is_private("a.weight")
