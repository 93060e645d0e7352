"""Biases that only move another bias: pushed on wherever the function stays the same, and left alone elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from random_networks import Net, assert_close, check_valid, networks, outputs_of

from secateur.ir import push_biases as module
from secateur.ir.push_biases import push_biases


def check(net: Net) -> dict[str, np.ndarray]:
    """The law: the same graph computes the same."""
    graph = net.graph(net.nodes[-1].output)
    tensors = push_biases(graph, net.constants)
    check_valid(graph, tensors)
    assert_close(outputs_of(graph, net.constants), outputs_of(graph, tensors))
    return tensors


@settings(max_examples=70, deadline=None)
@given(networks())
def test_a_network_with_pushed_biases_computes_the_same(net: Net):
    check(net)


def caffe(**padding: int) -> Net:
    """Two convolutions without activations, poolings, then a linear layer, a ReLU and another."""
    net = Net(-1, 1, 12, 12)
    x = pool(net, net.conv("x", "conv1", 4, 3))
    x = pool(net, net.conv(x, "conv2", 5, 2, **padding))
    x = net.add("relu", net.linear(net.flatten(x), "fc1", 6))
    net.linear(x, "fc2", 3)
    return net


def pool(net: Net, x: str, op: str = "max_pool", **changes: object) -> str:
    options = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0), "ceil_mode": False} | changes
    options |= {"dilation": (1, 1)} if op == "max_pool" else {"count_include_pad": True} | changes
    return net.add(op, x, **options)


def test_biases_of_layers_without_activation_end_in_the_first_one_that_has_one():
    net = caffe()
    tensors = check(net)
    for layer, stays in {"conv1": False, "conv2": False, "fc1": True, "fc2": True}.items():
        assert tensors[f"{layer}.bias"].any() == stays
    assert not np.array_equal(tensors["fc1.bias"], net.constants["fc1.bias"])
    np.testing.assert_array_equal(tensors["fc2.bias"], net.constants["fc2.bias"])


def test_zeros_beside_the_image_have_no_bias():
    tensors = check(caffe(padding=1))
    assert tensors["conv1.bias"].all()
    assert not tensors["conv2.bias"].any()


@pytest.mark.parametrize(("included", "stays"), [(True, True), (False, False)])
def test_a_mean_over_padding_holds_a_bias_back(included: bool, stays: bool):
    net = Net(-1, 2, 6, 6)
    x = pool(net, net.conv("x", "conv", 3, 1), "average_pool", padding=(1, 1), count_include_pad=included)
    net.linear(net.flatten(x), "fc", 2)
    assert check(net)["conv.bias"].any() == stays


def twice() -> Net:
    net = Net(-1, 4)
    x = net.linear("x", "first", 5)
    net.add("add", net.linear(x, "second", 3), net.linear(x, "third", 3))
    return net


def without() -> Net:
    net = Net(-1, 4)
    net.linear(net.linear("x", "first", 5), "second", 3, bias=False)
    return net


def overflow() -> Net:
    net = Net(-1, 4)
    net.linear(net.linear("x", "first", 5), "second", 3)
    net.constants["first.bias"][:] = 3e38
    net.constants["second.weight"][:] = 3
    net.constants["first.weight"][:] = 0
    return net


@pytest.mark.parametrize("build", [twice, without])
def test_a_bias_stays_where_nothing_takes_it_up(build):
    assert check(build())["first.bias"].all()


def test_a_bias_stays_where_float32_could_not_hold_the_next():
    net = overflow()
    tensors = push_biases(net.graph(net.nodes[-1].output), net.constants)
    np.testing.assert_array_equal(tensors["first.bias"], net.constants["first.bias"])


def test_forgotten_padding_is_noticed(monkeypatch: pytest.MonkeyPatch):
    """The law can fail."""
    monkeypatch.setattr(module, "is_padded", lambda layer: False)
    with pytest.raises(AssertionError):
        check(caffe(padding=1))


def test_a_bias_is_not_pushed_into_a_transposed_convolution():
    """Its outputs meet different taps."""
    net = Net(-1, 2, 3, 3)
    net.conv_transpose(net.conv_transpose("x", "first", 3), "last", 2, stride=2)
    assert push_biases(net.graph("v1"), net.constants).keys() == net.constants.keys()
    for name, array in push_biases(net.graph("v1"), net.constants).items():
        np.testing.assert_array_equal(array, net.constants[name])


def test_a_transposed_convolution_gives_its_bias_away():
    net = Net(-1, 2, 3, 3)
    net.conv(net.conv_transpose("x", "first", 3), "last", 2, 2)
    graph = net.graph("v1")
    pushed = push_biases(graph, net.constants)
    assert not pushed["first.bias"].any()
    assert_close(outputs_of(graph, net.constants), outputs_of(graph, pushed))


def test_a_bias_is_not_pushed_through_a_quantizer():
    """Codes are not linear: what is added before them cannot be added behind."""
    net = Net(-1, 1, 12, 12)
    x = net.quantize(pool(net, net.conv("x", "conv1", 4, 3)), "map", 0.125)
    net.conv(pool(net, x), "conv2", 5, 2)
    tensors = check(net)
    np.testing.assert_array_equal(tensors["conv1.bias"], net.constants["conv1.bias"])
    np.testing.assert_array_equal(tensors["conv2.bias"], net.constants["conv2.bias"])
