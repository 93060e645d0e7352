"""Units in ascending order of bias: the same function, kept units first, nothing moved whose place has a meaning."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_networks import Net, assert_close, check_valid, networks, outputs_of

from secateur.ir import sort_units as module
from secateur.ir.dead_units import remove_dead_units
from secateur.ir.records import restore_units
from secateur.ir.sort_units import sort_units


def check(net: Net, *, rescale: bool = False) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The law: same outputs, and restored to the original shapes still; gives the tensors before and after."""
    graph = net.graph(net.nodes[-1].output)
    smaller, tensors, removal = remove_dead_units(graph, net.constants)
    result = sort_units(graph, net.constants, (smaller, tensors, removal), rescale=rescale)
    found, groups = result.tensors, result.groups
    check_valid(smaller, found)
    assert_close(outputs_of(smaller, tensors), outputs_of(smaller, found))
    restored = restore_units(found, groups, removal.axes)
    assert {name: array.shape for name, array in restored.items() if name not in removal.made_biases} == {
        name: array.shape for name, array in net.constants.items()
    }
    if not removal.made_biases:
        assert_close(outputs_of(graph, net.constants), outputs_of(graph, restored))
    for before, after in zip(removal.groups, groups, strict=True):
        assert before.size == after.size
        assert before.kept.sum() == after.kept.sum()
    return tensors, found


@settings(max_examples=70, deadline=None)
@given(networks(), st.booleans())
def test_a_sorted_network_computes_the_same(net: Net, rescale: bool):
    check(net, rescale=rescale)


def perceptron() -> Net:
    net = Net(-1, 6, sparsity=0.1, seed=3)
    x = net.add("relu", net.linear("x", "first", 9))
    net.linear(net.add("relu", net.linear(x, "second", 7)), "third", 4)
    return net


def test_biases_ascend_and_the_outputs_stay_where_they_are():
    net = perceptron()
    before, after = check(net)
    for layer in ("first", "second"):
        assert (np.diff(after[f"{layer}.bias"]) >= 0).all()
        assert not np.array_equal(before[f"{layer}.bias"], after[f"{layer}.bias"])
    np.testing.assert_array_equal(before["third.bias"], after["third.bias"])


def test_kept_units_come_first():
    net = perceptron()
    net.constants["first.weight"][[0, 4]] = 0
    graph = net.graph(net.nodes[-1].output)
    smaller, tensors, removal = remove_dead_units(graph, net.constants)
    groups = sort_units(graph, net.constants, (smaller, tensors, removal)).groups
    assert not removal.groups[0].kept[0]
    assert all((np.diff(group.kept.astype(int)) <= 0).all() for group in groups)


def test_channels_move_with_their_pixels():
    net = Net(-1, 2, 4, 4)
    net.linear(net.flatten(net.conv("x", "conv", 5, 3)), "linear", 3)
    before, after = check(net)
    order = np.argsort(before["conv.bias"])
    np.testing.assert_array_equal(after["conv.weight"], before["conv.weight"][order])
    pixels = before["linear.weight"].reshape(3, 5, 4)[:, order].reshape(3, 20)
    np.testing.assert_array_equal(after["linear.weight"], pixels)


def test_branches_of_a_sum_move_together():
    net = Net(-1, 3)
    left, right = net.linear("x", "left", 6), net.linear("x", "right", 6)
    net.linear(net.add("relu", net.add("add", left, right)), "last", 2)
    before, after = check(net)
    order = np.argsort(before["left.bias"])
    np.testing.assert_array_equal(after["right.bias"], before["right.bias"][order])
    np.testing.assert_array_equal(after["last.weight"], before["last.weight"][:, order])


def test_without_biases_units_with_few_weights_come_first():
    net = Net(-1, 5)
    net.linear(net.add("relu", net.linear("x", "first", 4, bias=False)), "last", 2, bias=False)
    net.constants["first.weight"][1, 1:] = 0
    before, after = check(net)
    np.testing.assert_array_equal(after["first.weight"][0], before["first.weight"][1])


def sliced() -> Net:
    net = Net(-1, 4)
    x = net.linear("x", "first", 6)
    net.linear(net.add("slice", x, axis=1, start=0, stop=3, step=1), "last", 2)
    return net


def joined() -> Net:
    net = Net(-1, 4)
    parts = [net.linear("x", name, 3) for name in ("first", "second")]
    net.linear(net.add("concat", *parts, axis=1), "last", 2)
    return net


def mixed() -> Net:
    net = Net(-1, 4)
    net.add("softmax", net.linear("x", "first", 6), axis=1)
    return net


@pytest.mark.parametrize("build", [sliced, joined, mixed])
def test_units_whose_place_says_who_reads_them_stay(build):
    before, after = check(build())
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array)


def chain(layers: int) -> Net:
    net, x = Net(-1, 6, sparsity=0.1, seed=5), "x"
    for number in range(layers):
        x = net.add("relu", net.linear(x, f"layer{number}", 6))
    net.linear(x, "last", 2)
    return net


@pytest.mark.parametrize("layers", [10, 40])
def test_a_layer_looks_at_its_own_axes_however_many_there_are(monkeypatch: pytest.MonkeyPatch, layers: int):
    """The work is proportional to the size of a network: weight, bias, columns and results of each layer."""
    looked, right = [], module._places
    monkeypatch.setattr(module, "_places", lambda order, axes: looked.append(len(axes)) or right(order, axes))
    _, after = check(chain(layers), rescale=True)
    assert len(looked) == layers
    assert max(looked) <= 5
    assert all(np.diff(after[f"layer{number}.bias"]).min() >= 0 for number in range(layers))


def test_a_column_that_does_not_follow_is_noticed(monkeypatch: pytest.MonkeyPatch):
    """The law can fail: rows alone change places."""
    right = module._places
    monkeypatch.setattr(
        module, "_places", lambda order, axes: {k: v for k, v in (right(order, axes) or {}).items() if k[1] == 0}
    )
    with pytest.raises(AssertionError):
        check(perceptron())


def test_channels_of_transposed_convolutions_are_sorted_on_their_own_axes():
    net = Net(-1, 2, 3, 3, seed=1)
    x = net.conv_transpose("x", "first", 6)
    x = net.conv_transpose(net.add("relu", x), "middle", 6, groups=6)
    net.conv_transpose(net.add("relu", x), "last", 3)
    before, after = check(net)
    assert (np.diff(after["first.bias"]) >= 0).all()
    assert not np.array_equal(before["first.bias"], after["first.bias"])
    np.testing.assert_array_equal(before["last.bias"], after["last.bias"])


def leading(weight: np.ndarray) -> np.ndarray:
    flat = weight.reshape(len(weight), -1)
    return flat[np.arange(len(flat)), np.argmax(flat != 0, axis=1)]


def are_powers(weight: np.ndarray) -> np.ndarray:
    found = leading(weight)
    return (np.abs(np.frexp(found)[0]) == 0.5) | (found == 0)


def test_first_weights_of_rescaled_units_are_powers_of_two():
    net = Net(-1, 2, 8, 8)
    x = net.add("relu", net.conv("x", "conv", 5, 3, padding=1))
    x = net.add("leaky_relu", net.linear(net.flatten(x), "first", 7), slope=0.1)
    net.linear(x, "last", 3)
    before, after = check(net, rescale=True)
    assert are_powers(after["conv.weight"]).all()
    assert are_powers(after["first.weight"]).all()
    assert not are_powers(after["last.weight"]).any(), "outputs keep their scale"
    assert (np.diff(after["first.bias"]) >= 0).all()
    assert not are_powers(before["conv.weight"]).all()


@pytest.mark.parametrize("op", ["sigmoid", "relu6", "gelu"])
def test_units_behind_other_functions_keep_their_scale(op: str):
    net = Net(-1, 5)
    net.linear(net.add(op, net.linear("x", "first", 6), **({"approximate": "none"} if op == "gelu" else {})), "last", 2)
    before, after = check(net, rescale=True)
    np.testing.assert_array_equal(np.sort(before["first.bias"]), after["first.bias"])


def test_units_that_a_constant_is_added_to_keep_their_scale():
    net = Net(-1, 5)
    x = net.add("add", net.linear("x", "first", 6), net.constant("shift", np.arange(6)))
    net.linear(net.add("relu", x), "last", 2)
    before, after = check(net, rescale=True)
    np.testing.assert_array_equal(np.sort(before["first.bias"]), after["first.bias"])


def test_a_sigmoid_taken_for_homogeneous_is_noticed(monkeypatch: pytest.MonkeyPatch):
    """The law can fail."""
    net = Net(-1, 5)
    net.linear(net.add("sigmoid", net.linear("x", "first", 6)), "last", 2)
    monkeypatch.setattr(module, "HOMOGENEOUS", ("sigmoid",))
    with pytest.raises(AssertionError):
        check(net, rescale=True)


def test_units_near_the_limits_of_float16_and_float32_keep_their_scale():
    """What can be stored as it is must not overflow by being scaled."""
    net = Net(-1, 4, seed=2)
    net.linear(net.add("relu", net.linear("x", "first", 6)), "last", 2)
    net.constants["first.weight"][0, :2] = 46_000, 65_000  # the first of them would become 65,536
    net.constants["first.weight"][1, :2] = 2.4e38, 3.4e38
    net.constants["first.bias"][2] = -3.4e38
    net.constants["last.weight"][0, 3] = 3.4e38
    _, after = check(net, rescale=True)
    assert np.isfinite(after["first.weight"]).all()
    assert are_powers(after["first.weight"]).sum() == 2
    assert {np.float32(46_000), np.float32(2.4e38)} <= set(after["first.weight"][:, 0])
    assert np.float32(-3.4e38) in after["first.bias"]
    assert np.float32(3.4e38) in after["last.weight"]


@pytest.mark.parametrize("between", ["quantized", "rescaled"])
def test_units_before_a_quantizer_are_sorted_and_keep_their_scale(between: str):
    """The scale is one for all units, so they may change places; another magnitude would meet other codes."""
    net = Net(-1, 6, seed=3)
    x = net.add("relu", net.linear("x", "first", 9))
    if between == "quantized":
        x = net.quantize(x, "map", 0.125, signed=False)
    net.linear(x, "second", 7)
    before, after = check(net, rescale=True)
    assert (np.diff(after["first.bias"]) >= 0).all()
    assert (sorted(before["first.bias"]) == sorted(after["first.bias"])) == (between == "quantized")
