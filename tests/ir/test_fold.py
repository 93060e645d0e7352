from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_networks import Net, assert_close, check_valid, networks, outputs_of

from secateur.ir import fold
from secateur.ir.fold import fold_batch_norm
from secateur.ir.graph import Graph
from secateur.ir.interpret import run_graph
from secateur.ir.records import Fold

Folded = tuple[Graph, dict[str, np.ndarray], tuple[Fold, ...], tuple[str, ...]]


def check(net: Net, *outputs: str) -> Folded:
    """The law: a valid graph that computes the same, with one line for each norm that stays."""
    graph = net.graph(*outputs or (net.nodes[-1].output,))
    before = {name: array.copy() for name, array in net.constants.items()}
    folded = fold_batch_norm(graph, net.constants)
    check_valid(folded[0], folded[1])
    assert_close(outputs_of(graph, net.constants), outputs_of(folded[0], folded[1]))
    norms = [sum(node.op == "batch_norm" for node in one.nodes) for one in (graph, folded[0])]
    assert (len(folded[2]), len(folded[3])) == (norms[0] - norms[1], norms[1])
    for name, array in before.items():
        np.testing.assert_array_equal(net.constants[name], array)
    return folded


@st.composite
def normed(draw: Any) -> Net:
    """One to three layers, most followed by norms, over 0 (linear) to 3 spatial axes."""
    rank = draw(st.integers(0, 3))
    net = Net(-1, 4, *(3,) * rank, seed=draw(st.integers(0, 2**32 - 1)), sparsity=0.2)
    x = "x"
    for i in range(draw(st.integers(1, 3))):
        outputs, bias = draw(st.sampled_from((2, 4, 6))), draw(st.booleans())
        if rank:
            groups = draw(st.sampled_from((1, 2)))
            x = net.conv(x, f"m{i}", outputs, draw(st.sampled_from((1, 3))), bias, padding=1, groups=groups)
        else:
            x = net.linear(x, f"m{i}", outputs, bias)
        for j in range(draw(st.integers(0, 2))):
            x = net.batch_norm(x, f"norm{i}{j}")
        if draw(st.booleans()):
            x = net.add("relu", x)
    return net


@settings(max_examples=40, deadline=None)
@given(normed())
def test_every_norm_right_after_a_layer_is_folded(net: Net):
    norms = [node for node in net.nodes if node.op == "batch_norm"]
    assert [line.norm for line in check(net)[2]] == [node.inputs[1].partition(".")[0] for node in norms]


@settings(max_examples=20, deadline=None)
@given(networks())
def test_a_random_network_computes_the_same(net: Net):
    check(net)


def test_the_names_of_what_was_folded_and_made():
    net = Net(-1, 2, 4, 4)
    net.batch_norm(net.conv("x", "conv1", 3, 3, bias=False), "bn1", eps=1e-4)
    graph, constants, folds, reasons = check(net)
    assert folds == (Fold("bn1", "conv1", 1e-4),)
    assert reasons == ()
    (node,) = graph.nodes
    assert (node.op, node.inputs, node.output) == ("conv", ("x", "conv1.weight", "conv1.bias"), "v1")
    assert set(constants) == {"conv1.weight", "conv1.bias"}


@pytest.mark.parametrize(("outputs", "groups"), [(6, 1), (4, 4), (8, 4), (6, 2)])
@pytest.mark.parametrize("bias", [True, False])
def test_into_a_transposed_convolution_with_its_channels_on_any_axis(outputs: int, groups: int, bias: bool):
    net = Net(-1, 4, 3, 3)
    net.batch_norm(net.conv_transpose("x", "up", outputs, 3, bias, stride=2, padding=1, groups=groups), "norm")
    graph, constants, folds, reasons = check(net)
    assert folds == (Fold("norm", "up", 1e-3),)
    assert reasons == ()
    assert [node.op for node in graph.nodes] == ["conv_transpose"]
    assert constants["up.bias"].shape == (outputs,)


def test_a_taken_name_is_not_used_for_the_bias():
    net = Net(-1, 3)
    x = net.add("mul", "x", net.constant("fc.bias", 2.0))
    net.batch_norm(net.linear(x, "fc", 3, bias=False), "bn")
    graph, _, _, _ = check(net)
    assert graph.nodes[-1].inputs == ("v0", "fc.weight", "fc.bias_1")


def test_torch_agrees():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3, bias=False), torch.nn.BatchNorm2d(3))
    model(torch.randn(8, 2, 5, 5) * 3 + 1)
    model.eval()
    net = Net(-1, 2, 5, 5)
    net.batch_norm(net.conv("x", "0", 3, 3, bias=False), "1", eps=model[1].eps)
    net.constants.update({name: t.numpy() for name, t in model.state_dict().items() if name in net.constants})
    graph, constants, _, _ = check(net)
    x = torch.randn(4, 2, 5, 5)
    expected = model(x).detach().numpy()
    np.testing.assert_allclose(run_graph(graph, constants, [x.numpy()])[0], expected, rtol=1e-4, atol=1e-5)


def test_pruned_weights_stay_plain_zeros_under_a_negative_scale():
    net = Net(-1, 3)
    net.batch_norm(net.linear("x", "fc", 2), "bn")
    net.constants["bn.weight"][:] = -1
    net.constants["fc.weight"][0] = 0
    weight = check(net)[1]["fc.weight"]
    assert weight[0].tobytes() == bytes(12)


def read_twice(net: Net) -> list[str]:
    x = net.conv("x", "conv", 3)
    return [net.add("add", net.batch_norm(x, "bn"), x)]


def result_too(net: Net) -> list[str]:
    x = net.conv("x", "conv", 3)
    return [net.batch_norm(x, "bn"), x]


def after_an_activation(net: Net) -> list[str]:
    return [net.batch_norm(net.add("relu", net.conv("x", "conv", 3)), "bn")]


def of_the_input(net: Net) -> list[str]:
    return [net.batch_norm("x", "bn")]


def shared_weight(net: Net) -> list[str]:
    x = net.conv("x", "conv", 2, bias=False)
    x = net.batch_norm(x, "bn")
    return [net.add("conv", x, "conv.weight", stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1)]


def computed_weight(net: Net) -> list[str]:
    weight = net.add("mul", net.weight("weight", 3, 2, 1, 1), net.constant("mask", np.ones((3, 2, 1, 1))))
    x = net.add("conv", "x", weight, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1)
    return [net.batch_norm(x, "bn")]


def over_tokens(net: Net) -> list[str]:
    return [net.batch_norm(net.linear(net.add("reshape", "x", shape=(-1, 2, 16)), "fc", 5), "bn")]


def zero_variance(net: Net) -> list[str]:
    x = net.batch_norm(net.conv("x", "conv", 3), "bn", eps=0.0)
    net.constants["bn.running_var"][1] = 0
    net.constants["bn.weight"][1] = 0
    return [x]


def huge_scale(net: Net) -> list[str]:
    x = net.batch_norm(net.conv("x", "conv", 3), "bn", eps=1e-30)
    net.constants["bn.running_var"][1] = 0
    net.constants["bn.weight"][1] = 1e30
    net.constants["conv.weight"][:] = 1
    return [x]


REFUSALS = {
    read_twice: "bn stays: the output of conv is also read elsewhere",
    result_too: "bn stays: the output of conv is also read elsewhere",
    after_an_activation: "bn stays: its input is not the output of a convolution or linear layer",
    of_the_input: "bn stays: its input is not the output of a convolution or linear layer",
    shared_weight: "bn stays: the weight or bias of conv is shared or computed",
    computed_weight: "bn stays: the weight or bias of the layer before it is shared or computed",
    over_tokens: "bn stays: the channels of fc are not on axis 1",
    zero_variance: "bn stays: its parameters are not finite constants with variance + eps above zero",
    huge_scale: "bn stays: folding it would overflow float32",
}


@pytest.mark.parametrize("build", REFUSALS)
def test_what_cannot_be_folded_stays_with_a_reason(build: Any):
    net = Net(-1, 2, 4, 4)
    graph = net.graph(*build(net))
    same, constants, folds, reasons = fold_batch_norm(graph, net.constants)
    assert same == graph
    assert folds == ()
    assert reasons == (REFUSALS[build],)
    for name, array in net.constants.items():
        assert constants[name] is array


def test_the_law_catches_a_planted_fault(monkeypatch: pytest.MonkeyPatch):
    net = Net(-1, 3)
    net.batch_norm(net.linear("x", "fc", 2), "bn")
    right = fold._affine

    def forgets_the_mean(node, tensors):
        affine = right(node, tensors)
        return fold._Affine(affine.scale, 0 * affine.mean, affine.shift)

    monkeypatch.setattr(fold, "_affine", forgets_the_mean)
    with pytest.raises(AssertionError):
        check(net)


def test_a_norm_before_a_quantizer_is_folded_and_one_behind_it_stays():
    net = Net(-1, 2, 4, 4)
    x = net.quantize(net.batch_norm(net.conv("x", "conv1", 3, 3), "bn1"), "map1", 0.125)
    y = net.quantize(net.conv(x, "conv2", 3, 1), "map2", 0.25)
    net.batch_norm(y, "bn2")
    graph, tensors, folds, reasons = check(net)
    assert [line.norm for line in folds] == ["bn1"]
    assert reasons == ("bn2 stays: its input is not the output of a convolution or linear layer",)
    assert [node.op for node in graph.nodes] == ["conv", "fake_quantize", "conv", "fake_quantize", "batch_norm"]
    np.testing.assert_array_equal(tensors["map1.scale"], 0.125)
