"""Dead units in front of a weight with a pattern: they stay where it is worth more than they, go where it is not, or
where it holds without them."""

import numpy as np
import pytest
from random_networks import Net, assert_close, check_valid, outputs_of

from balanced_matrices import keep_largest
from secateur.ir.dead_units import remove_dead_units
from secateur.ir.pattern import Pattern
from secateur.ir.pattern_search import found_pattern
from secateur.ir.patterned_units import lost_patterns, removed_around_patterns

DRAW = np.random.default_rng(0)


def net_with(inputs, outputs, unread):
    """`first` makes 64 units from so many inputs; `second` has 4 of 16 of them and reads all but `unread`."""
    net = Net(-1, inputs)
    net.linear(net.add("relu", net.linear("x", "first", 64)), "second", outputs)
    weight = DRAW.standard_normal((outputs, 64)).astype(np.float32)
    weight[:, unread] = 0
    net.constants["second.weight"] = keep_largest(weight, 4)
    net.constants["first.weight"] = DRAW.standard_normal((64, inputs)).astype(np.float32)
    assert net.constants["second.weight"].any(0).sum() == 64 - len(unread)
    return net


@pytest.mark.parametrize(
    ("inputs", "unread", "units", "holds"),
    [
        (50, [3], 64, True),  # a unit costs 50 multiplications, the pattern saves 48 of 64 of every output
        (5000, [3], 63, False),  # the unit costs more
        (50, list(range(16, 32)), 48, True),  # a whole group goes: those behind it stay groups
        (50, [63], 63, True),  # the last one shifts none
        (50, [], 64, True),
    ],
)
def test_what_is_worth_more_stays(inputs, unread, units, holds):
    net = net_with(inputs, 64, unread)
    graph = net.graph(net.nodes[-1].output)
    smaller, tensors, removal = removed_around_patterns(graph, net.constants)
    check_valid(smaller, tensors)
    assert_close(outputs_of(graph, net.constants), outputs_of(smaller, tensors))
    assert tensors["second.weight"].shape == (64, units)
    found = found_pattern(tensors["second.weight"])
    assert (found is not None and found.pattern == Pattern(4, 16)) == holds
    lost = lost_patterns(graph, net.constants, tensors)
    assert lost == ([] if holds else ["second.weight no longer has 4:16: its inputs were removed or sorted"])
    stay = [(kept.units, kept.reason) for kept in removal.kept]
    why = "4:16 of second.weight would not hold without them"
    assert stay == ([(len(unread), why)] if units == 64 and unread else [])


def test_patterns_may_not_matter():
    net = net_with(50, 64, [3])
    graph = net.graph(net.nodes[-1].output)
    tensors = removed_around_patterns(graph, net.constants, keep=False)[1]
    plain = remove_dead_units(graph, net.constants)[1]
    assert {name: array.shape for name, array in tensors.items()} == {name: a.shape for name, a in plain.items()}
    assert tensors["second.weight"].shape == (64, 63)


def test_weights_without_a_pattern_change_nothing():
    net = net_with(50, 64, [3])
    net.constants["second.weight"][:, :16] = 1
    net.constants["second.weight"][:, 3] = 0
    graph = net.graph(net.nodes[-1].output)
    tensors = removed_around_patterns(graph, net.constants)[1]
    assert tensors["second.weight"].shape == (64, 63)
    assert lost_patterns(graph, net.constants, tensors) == []


def test_a_convolution_with_a_pattern_keeps_its_channels():
    net = Net(-1, 8, 6, 6)
    net.conv(net.add("relu", net.conv("x", "first", 32, 3)), "second", 64, 3)
    weight = DRAW.standard_normal((64 * 9, 32)).astype(np.float32)
    weight[:, 5] = 0
    kept = keep_largest(weight, 4).reshape(64, 3, 3, 32)
    net.constants["second.weight"] = np.ascontiguousarray(np.moveaxis(kept, -1, 1))
    graph = net.graph(net.nodes[-1].output)
    smaller, tensors, removal = removed_around_patterns(graph, net.constants)
    check_valid(smaller, tensors)
    assert tensors["second.weight"].shape[1] == 32
    assert [kept.reason for kept in removal.kept] == ["4:16 of second.weight would not hold without them"]
