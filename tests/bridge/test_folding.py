"""bridge.folding: norm(conv(x)) as one convolution, against float64."""

import copy

import pytest
import torch
from torch import nn

from bridge_cases import apart, settled
from secateur.bridge.folding import folded, plain, plain_linear, without_training

CASES = [
    (nn.Conv2d(3, 5, 3, stride=2, padding=1, padding_mode="reflect"), nn.BatchNorm2d(5), (2, 3, 8, 8)),
    (nn.Conv2d(4, 8, 1, groups=2, bias=False), nn.BatchNorm2d(8, eps=0.1), (1, 4, 5, 5)),
    (nn.Conv1d(3, 4, 3, padding="same"), nn.BatchNorm1d(4), (2, 3, 9)),
]


@pytest.mark.parametrize(("conv", "norm", "shape"), CASES)
def test_folded_computes_the_same(conv, norm, shape):
    both = settled(nn.Sequential(conv, norm))
    x = torch.randn(shape)
    made = folded(conv, norm)
    assert apart(made(x), copy.deepcopy(both).double()(x.double())) < 1e-6
    assert type(made) in (nn.Conv1d, nn.Conv2d)
    assert not made.weight.requires_grad


def test_a_norm_without_scale():
    both = settled(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    both[1].weight = both[1].bias = None
    x = torch.randn(1, 3, 6, 6)
    assert apart(folded(*both)(x), copy.deepcopy(both).double()(x.double())) < 1e-6


def test_what_float32_cannot_hold_is_not_folded():
    conv, norm = nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1).eval()
    norm.weight.data.fill_(1e38)
    conv.weight.data.fill_(1e3)
    assert folded(conv, norm) is None


def test_plain_keeps_what_a_layer_computes():
    conv = nn.Conv2d(4, 6, (1, 3), stride=(2, 1), padding="valid", dilation=2, groups=2)
    x = torch.randn(1, 4, 9, 9)
    assert torch.equal(plain(conv, conv.weight, conv.bias)(x), conv(x))


@pytest.mark.parametrize("bias", [True, False])
def test_plain_keeps_what_a_linear_layer_computes(bias):
    layer, x = nn.Linear(4, 6, bias=bias), torch.randn(3, 4)
    made = plain_linear(layer)
    assert torch.equal(made(x), layer(x))
    assert not made.weight.requires_grad


def test_without_training_is_a_copy():
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Dropout())
    copied = without_training(model)
    assert not copied.training
    assert model.training
    assert copied[0].weight is not model[0].weight
