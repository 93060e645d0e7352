from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from random_networks import Net, assert_close, check_valid, networks, outputs_of

from secateur.errors import GraphError
from secateur.ir.dead_units import Kept, Removal, remove_dead_units
from secateur.ir.graph import Graph
from secateur.ir.records import restore_units
from secateur.ir.units import rules, settle

Removed = tuple[Graph, dict[str, np.ndarray], Removal]


def check(net: Net, *outputs: str) -> Removed:
    """The law: same outputs, a valid graph, nothing left to remove, and restored tensors that compute the same."""
    graph = net.graph(*outputs or (net.nodes[-1].output,))
    smaller, tensors, removal = remove_dead_units(graph, net.constants)
    check_valid(smaller, tensors)
    assert_close(outputs_of(graph, net.constants), outputs_of(smaller, tensors))
    if not lost_its_groups(graph, smaller):
        assert remove_dead_units(smaller, tensors)[2].groups == ()
    restored = restore_units(tensors, removal.groups, removal.axes)
    assert {name: array.shape for name, array in restored.items() if name not in removal.made_biases} == {
        name: array.shape for name, array in net.constants.items()
    }
    if not removal.made_biases:
        assert_close(outputs_of(graph, net.constants), outputs_of(graph, restored))
    return smaller, tensors, removal


def lost_its_groups(before: Graph, after: Graph) -> bool:
    """A depthwise layer left with one group is an ordinary one, whose outputs are no longer tied: more may go."""
    pairs = zip(before.nodes, after.nodes, strict=True)
    return any(one.attributes.get("groups", 1) != 1 == two.attributes["groups"] for one, two in pairs)


def sizes(removal: Removal) -> dict[str, tuple[int, int]]:
    return {row.layer: (row.before, row.after) for row in removal.layers}


@settings(max_examples=70, deadline=None)
@given(networks())
def test_a_network_without_its_dead_units_computes_the_same(net: Net):
    check(net)


@settings(max_examples=25, deadline=None)
@given(networks(integers=True))
def test_whole_numbers_give_the_same_bits(net: Net):
    graph = net.graph(net.nodes[-1].output)
    smaller, tensors, _ = remove_dead_units(graph, net.constants)
    before = outputs_of(graph, net.constants, integers=True)
    after = outputs_of(smaller, tensors, integers=True)
    for one, other in zip(before, after, strict=True):
        # Sums of whole numbers are exact in float32 as long as they stay below 2**24, with room for those in between.
        if np.abs(one).max() < 2**14:
            np.testing.assert_array_equal(one, other)


def dead_makers() -> Net:
    """Neurons 0 and 2 of the first layer are constants: sigmoid(bias)."""
    net = Net(-1, 4)
    x = net.add("sigmoid", net.linear("x", "first", 5))
    net.linear(x, "second", 3, bias=False)
    net.constants["first.weight"][[0, 2]] = 0
    return net


def test_a_constant_moves_into_the_next_bias_which_is_made_when_missing():
    net = dead_makers()
    graph, tensors, removal = check(net)
    assert sizes(removal) == {"first": (5, 3), "second": (3, 3)}
    assert removal.made_biases == ("second.bias",)
    constant = 1 / (1 + np.exp(-net.constants["first.bias"][[0, 2]].astype(np.float64)))
    expected = net.constants["second.weight"][:, [0, 2]].astype(np.float64) @ constant
    np.testing.assert_allclose(tensors["second.bias"], expected, rtol=1e-6)
    assert graph.nodes[-1].inputs == ("v1", "second.weight", "second.bias")


def test_counts_of_weights_and_biases_and_records_in_original_coordinates():
    net = dead_makers()
    net.constants["second.weight"][:, 4] = 0
    _, _, removal = check(net)
    first, second = removal.layers
    assert (first.weights_removed, first.biases_removed) == (4, 3)
    assert (second.weights_removed, second.biases_removed) == (6, 0)
    (group,) = removal.groups
    np.testing.assert_array_equal(group.kept, [False, True, False, True, False])
    assert removal.axes == {
        "first.weight": {0: (0, 1)},
        "first.bias": {0: (0, 1)},
        "second.weight": {1: (0, 1)},
    }


def brute_force(weights: list[np.ndarray]) -> list[int]:
    """Neurons left in a ReLU network without biases, by the definition: drop zero rows and columns until none is."""
    keep = [np.ones(len(weight), bool) for weight in weights[:-1]]
    while True:
        before = [mask.sum() for mask in keep]
        for i, mask in enumerate(keep):
            incoming = weights[i][:, keep[i - 1]] if i else weights[i]
            readers = weights[i + 1][keep[i + 1]] if i + 1 < len(keep) else weights[i + 1]
            mask &= incoming.any(axis=1) & readers.any(axis=0)
        if before == [mask.sum() for mask in keep]:
            return [int(mask.sum()) for mask in keep]


@pytest.mark.parametrize("seed", range(20))
def test_finds_every_dead_neuron_of_a_perceptron(seed: int):
    net = Net(-1, 6, seed=seed, sparsity=0.0)
    x = "x"
    for i, outputs in enumerate((8, 8, 8, 3)):
        x = net.linear(x, f"m{i}", outputs, bias=False)
        net.constants[f"m{i}.weight"][net.rng.random((outputs, net.shape(f"m{i}.weight")[1])) < 0.75] = 0
        x = net.add("relu", x) if i < 3 else x
    expected = brute_force([net.constants[f"m{i}.weight"] for i in range(4)])
    _, _, removal = check(net)
    assert [row.after for row in removal.layers] == [*(max(1, left) for left in expected), 3]


def test_flattened_channels_go_with_all_their_columns():
    net = Net(-1, 1, 4, 4)
    x = net.flatten(net.conv("x", "conv", 6))
    net.linear(x, "fc", 2)
    net.constants["fc.weight"].reshape(2, 6, 16)[:, [1, 4]] = 0
    graph, tensors, removal = check(net)
    assert tensors["fc.weight"].shape == (2, 64)
    assert removal.axes["fc.weight"] == {1: (0, 16)}
    assert removal.axes["conv.weight"] == {0: (0, 1)}
    assert graph.nodes[1].attributes == {"shape": (-1, 64)}


@pytest.mark.parametrize("depthwise", [False, True])
def test_channels_of_transposed_convolutions_go_at_both_ends(depthwise: bool):
    net = Net(-1, 2, 3, 3)
    x = net.conv_transpose("x", "first", 5, bias=False)
    if depthwise:
        x = net.conv_transpose(x, "middle", 5, groups=5)
    net.conv_transpose(x, "last", 2, stride=2)
    net.constants["first.weight"][:, 1] = 0  # nothing makes it
    net.constants["last.weight"][3] = 0  # nobody reads it
    if depthwise:
        net.constants["middle.bias"][1] = 0
    graph, tensors, removal = check(net)
    assert sizes(removal)["first"] == (5, 3)
    assert tensors["first.weight"].shape == (2, 3, 2, 2)
    assert tensors["last.weight"].shape == (3, 2, 2, 2)
    assert (removal.axes["first.weight"], removal.axes["last.weight"]) == ({1: (0, 1)}, {0: (0, 1)})
    if depthwise:
        assert tensors["middle.weight"].shape == (3, 1, 2, 2)
        assert graph.nodes[1].attributes["groups"] == 3


def test_a_constant_does_not_move_into_a_transposed_convolution():
    """Its borders see fewer taps, and with a stride its places see different ones."""
    net = Net(-1, 2, 3, 3)
    x = net.conv_transpose("x", "first", 4)
    net.conv_transpose(x, "last", 2, stride=2)
    net.constants["first.weight"][:, [0, 1]] = 0
    net.constants["first.bias"][:] = [0, 0.7, 1, 1]
    _, _, removal = check(net)
    assert sizes(removal)["first"] == (4, 3)
    reason = "a constant that is not zero, of which last makes more in some places than in others"
    assert removal.kept == (Kept("first", 1, reason),)


def test_recurrent_layers_keep_their_units_and_those_they_read():
    net = Net(-1, 5, 4)
    x = net.linear("x", "first", 3)
    shapes = {"rnn.w_ih": (4, 3), "rnn.w_hh": (4, 4), "rnn.b_ih": (4,), "rnn.b_hh": (4,)}
    parameters = [net.constant(name, net.numbers(*shape)) for name, shape in shapes.items()]
    x = net.add("rnn", x, *parameters, reverse=False, nonlinearity="relu")
    net.linear(x, "last", 2)
    net.constants["first.weight"][1] = 0
    net.constants["last.weight"][:, 2] = 0
    _, _, removal = check(net)
    assert removal.groups == ()
    assert removal.kept == (Kept("first", 1, "read by rnn"),)


def test_flattened_pixels_tile_the_channels():
    net = Net(-1, 1, 2, 2)
    x = net.flatten(net.add("permute", net.conv("x", "conv", 3), axes=(0, 2, 3, 1)))
    net.linear(x, "fc", 2)
    net.constants["fc.weight"].reshape(2, 4, 3)[:, :, 1] = 0
    _, tensors, removal = check(net)
    assert sizes(removal)["conv"] == (3, 2)
    assert tensors["fc.weight"].shape == (2, 8)


def padded(padding: int, bias: float) -> Net:
    net = Net(-1, 1, 4, 4)
    x = net.conv("x", "first", 3)
    net.conv(x, "second", 2, 3, padding=padding)
    net.constants["first.weight"][1] = 0
    net.constants["first.bias"][1] = bias
    return net


def test_a_constant_under_padding_stays_unless_it_is_zero():
    assert sizes(check(padded(0, 0.7))[2])["first"] == (3, 2)
    assert sizes(check(padded(1, 0.0))[2])["first"] == (3, 2)
    _, _, removal = check(padded(1, 0.7))
    assert sizes(removal)["first"] == (3, 3)
    assert Kept("first", 1, settle.PADDED.format("second")) in removal.kept


def pooled(flat: bool) -> Net:
    """A constant that an average pool over its padding makes uneven."""
    net = Net(-1, 1, 3, 3)
    x = net.conv("x", "conv", 3)
    options = {"kernel": (2, 2), "stride": (2, 2), "padding": (1, 1), "ceil_mode": False}
    x = net.add("average_pool", x, count_include_pad=True, **options)
    if flat:
        net.linear(net.flatten(x), "reader", 2)
    else:
        net.conv(x, "reader", 2)
    net.constants["conv.weight"][0] = 0
    return net


def test_an_uneven_constant_folds_into_a_linear_layer_but_not_into_a_convolution():
    assert sizes(check(pooled(flat=True))[2])["conv"] == (3, 2)
    _, _, removal = check(pooled(flat=False))
    assert sizes(removal)["conv"] == (3, 3)
    assert Kept("conv", 1, settle.UNEVEN.format("reader")) in removal.kept


def residual() -> Net:
    net = Net(-1, 2, 4, 4)
    x = net.conv("x", "stem", 4)
    y = net.conv(net.add("relu", net.conv(x, "down", 3)), "up", 4)
    net.conv(net.add("add", x, y), "head", 2)
    net.constants["up.weight"][:2] = 0
    return net


def test_tied_units_go_only_when_dead_in_every_branch():
    net = residual()
    assert sizes(check(net)[2])["up"] == (4, 4)
    net.constants["stem.weight"][1:3] = 0
    assert sizes(check(net)[2]) == {"stem": (4, 3), "down": (3, 3), "up": (4, 3), "head": (2, 2)}
    net.constants["head.weight"][:, 3] = 0
    net.constants["down.weight"][:, 3] = 0
    assert sizes(check(net)[2])["stem"] == (4, 2)


def test_units_added_to_the_networks_input_stay():
    net = Net(-1, 3, 4, 4)
    net.conv(net.add("add", net.conv("x", "conv", 3), "x"), "head", 2)
    net.constants["head.weight"][:, 1] = 0
    assert Kept("conv", 1, "combined with x, which has no units there") in check(net)[2].kept


def concatenated() -> Net:
    net = Net(-1, 2, 4, 4)
    x = net.add("concat", net.conv("x", "left", 3), "x", net.conv("x", "right", 4), axis=1)
    net.conv(x, "head", 2)
    net.constants["left.weight"][1] = 0
    net.constants["head.weight"][:, [3, 5, 8]] = 0
    return net


def test_concatenation_keeps_offsets_and_the_networks_input():
    _, tensors, removal = check(concatenated())
    assert sizes(removal) == {"left": (3, 2), "right": (4, 2), "head": (2, 2)}
    assert tensors["head.weight"].shape == (2, 6, 1, 1)


@pytest.mark.parametrize("multiplier", [1, 2])
def test_a_depthwise_layer_goes_with_the_channels_it_reads(multiplier: int):
    net = Net(-1, 2, 4, 4)
    x = net.conv("x", "first", 4)
    x = net.conv(x, "depthwise", 4 * multiplier, 3, padding=1, groups=4)
    net.conv(x, "last", 2)
    net.constants["last.weight"].reshape(2, 4, multiplier)[:, [0, 2]] = 0
    graph, _, removal = check(net)
    assert sizes(removal) == {"first": (4, 2), "depthwise": (4 * multiplier, 2 * multiplier), "last": (2, 2)}
    assert graph.nodes[1].attributes["groups"] == 2


def test_one_removal_causes_the_next():
    net = Net(-1, 3)
    x = "x"
    for i in range(4):
        x = net.add("relu", net.linear(x, f"m{i}", 3))
        net.constants[f"m{i}.weight"][:] = np.eye(3)
    net.linear(x, "last", 2)
    net.constants["last.weight"][:, 1] = 0
    assert set(sizes(check(net)[2]).values()) == {(3, 2), (2, 2)}


def test_a_dead_layer_keeps_one_unit_and_is_named():
    net = Net(-1, 3)
    x = net.add("relu", net.linear("x", "dead", 4))
    net.linear(net.add("relu", net.linear(x, "fed", 4)), "last", 2)
    net.constants["dead.weight"][:] = 0
    _, _, removal = check(net)
    assert removal.dead_layers == ("dead", "fed")
    assert sizes(removal) == {"dead": (4, 1), "fed": (4, 1), "last": (2, 2)}
    assert Kept("dead", 1, settle.LAST) in removal.kept


def test_an_always_shut_gate_makes_its_channel_dead():
    net = Net(-1, 2, 4, 4)
    x = net.conv("x", "conv", 3)
    gate = net.add("relu", net.conv(net.add("mean", x, axes=(2, 3), keepdims=True), "gate", 3))
    net.conv(net.add("mul", x, gate), "head", 2)
    net.constants["gate.weight"][1] = 0
    net.constants["gate.bias"][1] = -1
    assert sizes(check(net)[2]) == {"conv": (3, 3), "gate": (3, 3), "head": (2, 2)}  # `gate` itself still reads conv[1]
    net.constants["gate.weight"][:, 1] = 0
    assert sizes(check(net)[2]) == {"conv": (3, 2), "gate": (3, 2), "head": (2, 2)}


def test_results_inputs_and_shared_or_unfinished_weights_keep_their_units():
    net = Net(-1, 4)
    hidden = net.linear("x", "first", 4)
    net.linear(net.add("linear", hidden, "first.weight"), "last", 3)
    net.constants["first.weight"][1] = 0
    net.constants["last.weight"][2] = 0
    _, _, removal = check(net)
    assert not removal.groups
    assert Kept("last", 1, "a result of the network") in removal.kept
    assert Kept("first", 2, "first.weight is shared or computed") in removal.kept  # once for each use


def test_a_weight_that_is_not_a_number_is_no_zero():
    net = Net(-1, 3)
    net.linear(net.add("relu", net.linear("x", "first", 4)), "last", 2)
    net.constants["first.weight"][0, 1] = np.nan
    net.constants["first.bias"][1] = np.inf
    net.constants["first.weight"][1] = 0
    net.constants["last.weight"][:, :2] = 0
    _, tensors, removal = remove_dead_units(net.graph("v2"), net.constants)
    assert sizes(removal)["first"] == (4, 4)
    assert np.isnan(tensors["first.weight"][0, 1])


FAULTS = {
    "padding is forgotten": (settle, "is_padded", lambda layer: False, lambda: padded(1, 0.7)),
    "uneven constants are averaged": (settle, "ROUNDING", 1e6, lambda: pooled(flat=False)),
    "constants are dropped": (settle, "column_sums", lambda taps: 0 * taps[..., 0], lambda: padded(0, 0.7)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_law_catches_a_planted_fault(fault: str, monkeypatch: pytest.MonkeyPatch):
    module, name, wrong, network = FAULTS[fault]
    check(network())
    monkeypatch.setattr(module, name, wrong)
    with pytest.raises(AssertionError):
        check(network())


def test_the_law_catches_a_missing_tie(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(rules.RULES, "add", lambda flow, node: flow.layouts[node.inputs[1]])
    net = residual()
    net.constants["head.weight"][:, 3] = 0
    with pytest.raises(GraphError, match="do not broadcast"):
        check(net)


def lenet(density: float) -> Net:
    """LeNet-5 of Caffe (20-50-500-10) with random weights, of which all but `density` are zero."""
    net = Net(-1, 1, 28, 28)
    pool = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0), "dilation": (1, 1), "ceil_mode": False}
    x = net.add("max_pool", net.conv("x", "conv1", 20, 5), **pool)
    x = net.add("max_pool", net.conv(x, "conv2", 50, 5), **pool)
    x = net.add("relu", net.linear(net.flatten(x), "fc1", 500))
    net.linear(x, "fc2", 10)
    for name, array in net.constants.items():
        if name.endswith("weight"):
            array[net.rng.random(array.shape) >= density] = 0
    return net


def test_a_very_sparse_lenet_loses_most_of_its_units():
    _, _, removal = check(lenet(0.01))
    left = {row.layer: row.after for row in removal.layers}
    assert left["conv1"] < 20
    assert left["fc1"] < 100
    assert left["fc2"] == 10


def test_a_constant_goes_through_a_quantizer_and_the_scale_stays():
    net = Net(-1, 4)
    net.linear(net.quantize(net.linear("x", "first", 5), "map", 0.125, 3, signed=False), "second", 3, bias=False)
    net.constants["first.weight"][[0, 2]] = 0
    net.constants["first.bias"][[0, 2]] = 0.57, 9.0  # codes 5 and 72, but 7 is the last
    _, tensors, removal = check(net)
    assert sizes(removal) == {"first": (5, 3), "second": (3, 3)}
    expected = net.constants["second.weight"][:, [0, 2]].astype(np.float64) @ [5 / 8, 7 / 8]
    np.testing.assert_allclose(tensors["second.bias"], expected, rtol=1e-6)
    np.testing.assert_array_equal(tensors["map.scale"], 0.125)
    assert "map.scale" not in removal.axes
