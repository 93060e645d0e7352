"""Every word of a convolution, in torch, against torch.nn.functional in float64: as FastConv2d and accelerated.

A layer that a kernel computes and one that is left to PyTorch must both be right, and which it was must be said.
"""

import copy
import os
import threading

import pytest
import torch
from torch import nn

from bridge_cases import CLOSE, apart, exact, glance
from secateur.bridge.accelerate import accelerate
from secateur.bridge.fast_conv2d import FastConv2d

__all__ = ["glance"]

WORDS = {
    "3x3": ((16, 16, 3), {"padding": 1}, (1, 16, 9, 9)),
    "no padding": ((16, 16, 3), {}, (2, 16, 9, 9)),
    "groups": ((12, 24, 3), {"groups": 3, "padding": 1}, (1, 12, 7, 7)),
    "depthwise": ((20, 20, 3), {"groups": 20, "padding": 1}, (1, 20, 7, 7)),
    "depthwise multiplied": ((5, 15, 3), {"groups": 5}, (1, 5, 7, 7)),
    "dilation": ((8, 8, 3), {"dilation": 2, "padding": 2}, (1, 8, 9, 9)),
    "stride": ((8, 8, 3), {"stride": 2, "padding": 1}, (1, 8, 9, 9)),
    "stride and dilation per axis": ((8, 8, 3), {"stride": (2, 1), "dilation": (1, 2)}, (1, 8, 9, 9)),
    "reflect": ((8, 8, 3), {"padding": 1, "padding_mode": "reflect"}, (1, 8, 7, 7)),
    "replicate": ((8, 8, 3), {"padding": (1, 2), "padding_mode": "replicate"}, (1, 8, 7, 7)),
    "circular": ((8, 8, 3), {"padding": 1, "padding_mode": "circular"}, (1, 8, 7, 7)),
    "same": ((8, 8, 3), {"padding": "same"}, (1, 8, 7, 7)),
    "same, even taps": ((8, 8, (2, 4)), {"padding": "same"}, (1, 8, 7, 7)),
    "same, dilated, reflected": (
        (8, 8, 2),
        {"padding": "same", "dilation": 3, "padding_mode": "reflect"},
        (1, 8, 7, 7),
    ),
    "padding beyond the taps": ((8, 8, 3), {"padding": (1, 3)}, (1, 8, 7, 7)),
    "valid": ((8, 8, 3), {"padding": "valid"}, (1, 8, 7, 7)),
    "non-square taps": ((8, 8, (1, 5)), {"padding": (0, 2)}, (1, 8, 7, 11)),
    "non-square image": ((8, 8, 3), {"padding": 1}, (1, 8, 5, 17)),
    "one row": ((8, 8, (1, 3)), {}, (1, 8, 1, 9)),
    "1x1": ((24, 8, 1), {}, (1, 24, 5, 5)),
    "5x5": ((8, 8, 5), {"padding": 2}, (1, 8, 9, 9)),
    "batch of 0": ((8, 8, 3), {"padding": 1}, (0, 8, 7, 7)),
    "batch of 3": ((8, 8, 3), {"padding": 1}, (3, 8, 7, 7)),
    "odd channels": ((7, 13, 3), {"padding": 1}, (1, 7, 7, 7)),
    "one channel": ((1, 1, 3), {"padding": 1}, (1, 1, 7, 7)),
    "33 channels": ((33, 35, 3), {"padding": 1}, (1, 33, 6, 6)),
    "without bias": ((8, 8, 3), {"bias": False}, (1, 8, 7, 7)),
    "without batch": ((8, 8, 3), {"padding": 1}, (8, 7, 7)),
}
LINES = {
    "a line": ((8, 16, 5), {"padding": 2}, (2, 8, 30)),
    "a line with stride and groups": ((8, 16, 3), {"stride": 2, "groups": 2}, (1, 8, 31)),
    "a dilated line, same": ((8, 8, 4), {"padding": "same", "dilation": 2}, (1, 8, 30)),
    "a circular line": ((8, 8, 3), {"padding": 1, "padding_mode": "circular"}, (1, 8, 30)),
    "a line without batch": ((8, 8, 3), {}, (8, 30)),
}
DTYPES = [torch.float64, torch.float16, torch.bfloat16]
LAYOUTS = {
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "every second pixel": lambda x: x.repeat_interleave(2, 3)[..., ::2],
    "turned": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "not at a cache line": lambda x: torch.cat([x.new_zeros(1), x.flatten()])[1:].view(x.shape),
    "one image of many": lambda x: torch.cat([x, x])[1:],
    "expanded": lambda x: x[:, :1].expand(x.shape),
}


def drawn(word, kind=nn.Conv2d):
    """The layer of a word and an input."""
    torch.manual_seed(0)
    given, options, shape = (WORDS | LINES)[word]
    return kind(*given, **options), torch.randn(shape)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
@pytest.mark.parametrize("word", WORDS)
def test_fast_conv2d_computes_it(word):
    conv, x = drawn(word)
    fast = FastConv2d.from_conv(conv)
    found, reference = fast(x), conv(x)
    assert apart(found, exact(conv, x)) < CLOSE
    for layout in (torch.contiguous_format, torch.channels_last):
        assert (
            found.dim() == 3
            or found.is_contiguous(memory_format=layout)
            or not reference.is_contiguous(memory_format=layout)
        )
    assert "chosen by measurement" in fast.explain(), "a kernel computed it"


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
@pytest.mark.parametrize("word", WORDS)
def test_gradients_of_fast_conv2d(word):
    conv, x = drawn(word)
    fast, wide = FastConv2d.from_conv(conv), copy.deepcopy(conv).double()
    upstream, found, wanted = torch.randn(conv(x).shape), x.clone().requires_grad_(), x.double().requires_grad_()
    fast(found).backward(upstream)
    wide(wanted).backward(upstream.double())
    assert apart(found.grad, wanted.grad) < CLOSE
    assert all(apart(p.grad, q.grad) < CLOSE for p, q in zip(fast.parameters(), wide.parameters(), strict=True))
    no_convolution = conv.stride != (1, 1) or word == "padding beyond the taps"
    assert ("gradient of the input" in fast.explain()) == (not no_convolution)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
@pytest.mark.parametrize("word", [*WORDS, *LINES])
def test_accelerate_computes_it(word):
    conv, x = drawn(word, nn.Conv1d if word in LINES else nn.Conv2d)
    fast = accelerate(conv, x, measure=False)
    assert apart(fast(x), exact(conv, x)) < CLOSE
    (row,) = fast.report.layers
    assert (row.algorithm is None) == (0 in x.shape)
    assert bool(row.reason) == (0 in x.shape)


@pytest.mark.parametrize("dtype", DTYPES)
def test_other_dtypes_are_left_to_torch(dtype):
    conv, x = (part.to(dtype) for part in drawn("3x3"))
    fast = FastConv2d.from_conv(conv)
    assert torch.equal(fast(x), conv(x))
    assert fast.explain() == "not called yet"
    done = accelerate(conv, x, measure=False)
    assert torch.equal(done(x), conv(x))
    assert str(dtype) in done.report.layers[0].reason


def test_double_after_accelerating():
    conv, x = drawn("3x3")
    fast = accelerate(conv, x, measure=False).double()
    assert apart(fast(x.double()), exact(conv, x)) < 1e-12


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout):
    conv, x = drawn("3x3")
    x = LAYOUTS[layout](x)
    fast = FastConv2d.from_conv(conv)
    assert apart(fast(x), exact(conv, x)) < CLOSE
    assert fast(x).stride() == conv(x).stride()
    assert apart(accelerate(conv, x, measure=False)(x), exact(conv, x)) < CLOSE


def test_several_python_threads_make_and_use_a_layer_at_once():
    conv, _ = drawn("3x3")
    fast = FastConv2d.from_conv(conv, threads=2)
    inputs = [torch.randn(1, 16, 9, 9) for _ in range(4)]
    wanted = [exact(conv, x) for x in inputs]
    wrong, start = [], threading.Barrier(4)

    def work(number):
        start.wait()
        for _ in range(20):
            if not apart(fast(inputs[number]), wanted[number]) < CLOSE:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_forked_child_computes_the_same_and_makes_new_kernels():
    conv, x = drawn("3x3")
    fast, other = FastConv2d.from_conv(conv, threads=2), copy.deepcopy(conv)
    wanted = fast(x)
    child = os.fork()
    if child == 0:
        same = torch.equal(fast(x), wanted)
        new = apart(FastConv2d.from_conv(other)(x), wanted.double()) < CLOSE
        os._exit(0 if same and new else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_planted_fault_is_seen():
    conv, x = drawn("3x3")
    fast = FastConv2d.from_conv(copy.deepcopy(conv))
    with torch.no_grad():
        fast.weight[3, 2, 1, 1] += 0.01
    assert apart(fast(x), exact(conv, x)) > 10 * CLOSE
