"""bridge.kept: kernels follow their weights, in value and in life."""

import gc

import pytest
import torch
from torch import nn

from bridge_cases import CLOSE, apart, exact
from secateur.bridge import kept
from secateur.bridge.fast_conv2d import FastConv2d
from secateur.bridge.kept import KERNELS
from secateur.bridge.layer import ConvLayer
from secateur.kernels.conv import Conv2dKernel

X = torch.randn(1, 4, 6, 6, generator=torch.Generator().manual_seed(0))


def conv():
    torch.manual_seed(0)
    return FastConv2d(4, 8, 3, padding=1)


def in_place(layer):
    with torch.no_grad():
        layer.weight.mul_(2)


def bias_in_place(layer):
    with torch.no_grad():
        layer.bias.add_(1)


def one_step(layer):
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
    layer(X).square().sum().backward()
    optimizer.step()


def other_memory(layer):
    for _ in range(3):  # an address that was free may be taken again
        layer.weight.data = torch.randn_like(layer.weight)


def other_tensor(layer):
    layer.weight = nn.Parameter(torch.randn_like(layer.weight))


def state_dict(layer):
    layer.load_state_dict({name: t + 1 for name, t in layer.state_dict().items()})


def through_data(layer):
    layer.weight.data.mul_(2)
    layer.repack()


CHANGES = [in_place, bias_in_place, one_step, other_memory, other_tensor, state_dict, through_data]


@pytest.mark.parametrize("change", CHANGES)
def test_weights_that_changed_are_packed_again(change):
    layer = conv()
    before = layer(X)
    change(layer)
    assert apart(layer(X), exact(layer, X)) < CLOSE
    assert not torch.equal(layer(X), before)


def test_weights_that_did_not_change_are_not_packed_again(monkeypatch):
    layer = conv()
    before = layer(X)
    monkeypatch.setattr(Conv2dKernel, "with_weights", lambda *_: pytest.fail("packed again"))
    monkeypatch.setattr(kept, "_new", lambda *_: pytest.fail("made again"))
    assert torch.equal(layer(X), before)
    assert layer.explain().startswith("(1, 6, 6, 4)")


def test_kernels_go_with_their_weights():
    gc.collect()
    before, layer = len(KERNELS), conv()
    layer(X)
    assert len(KERNELS) == before + 1
    del layer
    gc.collect()
    assert len(KERNELS) == before


def test_a_weight_has_kernels_for_few_shapes_and_torch_computes_the_rest(monkeypatch):
    monkeypatch.setattr(kept, "SHAPES", 2)
    layer = conv()
    for height in (4, 5, 6, 7, 5):
        x = torch.randn(1, 4, height, 6)
        assert apart(layer(x), exact(layer, x)) < CLOSE
    assert [f"(1, {height}, 6, 4)" in layer.explain() for height in (4, 5, 6, 7)] == [True, True, False, False]


def test_other_sizes_leave_nothing_behind(monkeypatch):
    monkeypatch.setattr(kept, "NOTED", 3)
    layer, text = conv(), ConvLayer(sizes=((1, 6, 6),)).text()
    for width in range(6, 16):
        KERNELS.find(torch.zeros(1, 4, 6, width), layer.weight, layer.bias, None, text)
    assert len(KERNELS.explain(layer.weight).splitlines()) < 12
    assert KERNELS.explain(layer.weight).count("alone") == 2


def test_layers_that_share_a_weight():
    first, second = conv(), conv()
    second.weight, second.stride = first.weight, (2, 2)
    for layer in (first, second, first, second):
        assert apart(layer(X), exact(layer, X)) < CLOSE


def test_threads_of_torch():
    layer = conv()
    wanted = layer(X)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert apart(layer(X), wanted.double()) < CLOSE
    finally:
        torch.set_num_threads(before)
    assert layer.explain().count("chosen by") == 2


def test_a_processor_without_kernels(monkeypatch):
    def refuse(*_args, **_options):
        raise kept.KernelError("this processor is not known")

    monkeypatch.setattr(kept, "Conv2dKernel", refuse)
    layer = conv()
    assert apart(layer(X), exact(layer, X)) < 1e-6
    assert layer.explain() == "(1, 4, 6, 6): left to PyTorch: this processor is not known"
    in_place(layer)
    assert apart(layer(X), exact(layer, X)) < 1e-6


def test_zeros_that_come_move_and_go():
    """A weight is pruned, trained on its mask, and regrows: each time the kernel is right, and the zeros count."""
    layer, seen = conv(), []
    mask = torch.rand(layer.weight.shape, generator=torch.Generator().manual_seed(1)) < 0.2
    with torch.no_grad():
        for factor in (torch.ones(()), mask, 2 * mask, mask.roll(1, 0)):
            layer.weight.copy_(torch.randn(layer.weight.shape) * factor)
            assert apart(layer(X), exact(layer, X)) < CLOSE
            (found,) = KERNELS._by_weight[id(layer.weight)][1].values()
            seen.append(found.kernel.choice.zeros)
    assert seen[0] == 0
    assert all(zeros >= 0.7 for zeros in seen[1:])
