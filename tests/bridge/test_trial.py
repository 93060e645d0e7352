"""bridge.trial: what is refused whatever the data; code compiled before layers are tried."""

import pytest
import torch
from torch import nn

from secateur.bridge import trial
from secateur.bridge.accelerated_conv import AcceleratedConv, Asked
from secateur.bridge.fast_conv2d import FastConv2d
from secateur.bridge.trial import Call, Progress, Site, Trial, compile_for, refusal
from secateur.kernels.conv import compile_ahead

FLOAT = torch.float32


def conv():
    return nn.Conv2d(4, 8, 3, padding=1)


class OwnWay(nn.Conv2d):
    def forward(self, x):
        return super().forward(x) + 1


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
        (nn.Linear(2, 2), "only Conv1d and Conv2d"),
        (conv(), ""),
    ],
)
def test_refusal(layer, reason):
    assert reason in refusal(layer)
    assert bool(refusal(layer)) == bool(reason)


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


def test_layers_no_kernel_fits_are_left_for_later():
    compile_for([Call(Site("a", conv()), (1, 4, 6), FLOAT)], Trial())  # three channels too few


def test_progress(monkeypatch, tmp_path):
    monkeypatch.setattr(trial, "compile_ahead", compile_ahead)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    seen = []
    compile_for([Call(Site("a", conv()), (1, 4, 6, 6), FLOAT)], Trial(watch=seen.append))
    assert seen == [Progress("compile", n + 1, len(seen)) for n in range(len(seen))]
    assert len(seen) > 3
