"""bridge.trial: what is refused whatever the data; code compiled before layers are tried."""

import pytest
import torch
from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from secateur.bridge import trial
from secateur.bridge.accelerated_conv import AcceleratedConv, Asked
from secateur.bridge.fast_conv2d import FastConv2d
from secateur.bridge.trial import Call, Progress, Site, Trial, compile_for, is_layer, refusal
from secateur.kernels.balanced_choice import BYTES
from secateur.kernels.conv import compile_ahead

FLOAT = torch.float32


def conv():
    return nn.Conv2d(4, 8, 3, padding=1)


class OwnWay(nn.Conv2d):
    def forward(self, x):
        return super().forward(x) + 1


class OwnLinear(nn.Linear):
    def forward(self, x):
        return super().forward(x) + 1


def pruned(layer):
    layer.weight.data[:, 1:] = 0
    return layer


def watched():
    layer = conv()
    layer.register_forward_hook(lambda *_: None)
    return layer


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (OwnWay(4, 8, 3), "OwnWay computes in its own way"),
        (FastConv2d(4, 8, 3), "FastConv2d computes in its own way"),
        (watched(), "hooks"),
        (conv().double(), "float64"),
        (conv().to("meta"), "meta"),
        (nn.Conv3d(2, 2, 1), "only Conv1d and Conv2d"),
        (nn.Linear(8, 8), "0% zeros, not n of 16; linear layers have kernels for n of 16 and from 70% zeros on"),
        (NonDynamicallyQuantizableLinear(8, 8), "zeros"),
        (OwnLinear(8, 8), "OwnLinear computes in its own way"),
        (pruned(nn.Linear(8, 8)).double(), "float64"),
        (pruned(nn.Linear(8, 8)), ""),
        (conv(), ""),
    ],
)
def test_refusal(layer, reason):
    assert reason in refusal(layer)
    assert bool(refusal(layer)) == bool(reason)


def test_in_8_bits_every_linear_layer_has_a_kernel():
    assert refusal(nn.Linear(8, 8), BYTES) == ""
    assert "hooks" in refusal(watched(), BYTES)


@pytest.mark.parametrize("mode", ["zeros", "circular"])
def test_what_is_compiled_is_what_a_layer_asks_for(monkeypatch, mode):
    asked = []
    monkeypatch.setattr(trial, "compile_ahead", lambda requests, **_: asked.extend(requests))
    lines = nn.Conv1d(4, 8, 3, padding=1, padding_mode=mode)
    sites = [Site("a", nn.Conv2d(4, 8, 3, padding=1, padding_mode=mode), "relu"), Site("b", lines, "leaky_relu", 0.3)]
    inputs, how = [torch.randn(2, 4, 6, 6), torch.randn(4, 9)], Trial(Asked("fast", 3))
    calls = [Call(site, tuple(x.shape), FLOAT, True) for site, x in zip(sites, inputs, strict=True)]
    left = [Call(Site("c", conv().double()), (1, 4, 6, 6), FLOAT), Call(Site("d", conv()), (0, 4, 6, 6), FLOAT)]
    compile_for([*calls, *left, Call(Site("e", conv()), (1, 4, 6, 6), torch.float64)], how)
    for site, x, request in zip(sites, inputs, asked, strict=True):
        made = AcceleratedConv(site.conv, how.asked, activation=site.activation, slope=site.slope)
        made.plan_for(x)
        kernel = made.kept(x, made(x)).kernel
        assert request == (kernel.shape, kernel.epilogue, kernel.options)


def test_convolutions_and_linear_layers_have_a_row():
    assert is_layer(nn.Linear(8, 8))
    assert is_layer(nn.Linear(8, 8, device="meta"))
    assert is_layer(conv())
    assert not is_layer(nn.Conv3d(2, 2, 1))


def test_a_linear_layer_is_compiled_as_one_row_of_tokens(monkeypatch):
    asked = []
    monkeypatch.setattr(trial, "compile_ahead", lambda requests, **_: asked.extend(requests))
    compile_for([Call(Site("a", pruned(nn.Linear(8, 5)), "relu"), (2, 7, 8), FLOAT)], Trial())
    (request,) = asked
    assert (request[0].input_shape, request[0].output_shape) == ((1, 1, 14, 8), (1, 1, 14, 5))


def test_layers_no_kernel_fits_are_left_for_later():
    compile_for([Call(Site("a", conv()), (1, 4, 6), FLOAT)], Trial())  # three channels too few


def test_progress(monkeypatch, tmp_path):
    monkeypatch.setattr(trial, "compile_ahead", compile_ahead)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    seen = []
    compile_for([Call(Site("a", conv()), (1, 4, 6, 6), FLOAT)], Trial(watch=seen.append))
    assert seen == [Progress("compile", n + 1, len(seen)) for n in range(len(seen))]
    assert len(seen) > 3
