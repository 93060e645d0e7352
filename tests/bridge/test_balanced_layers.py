"""accelerate on linear layers and convolutions with n of 16, and in 8 bits: every word of a layer, threads, changes."""

import copy
import os
import threading

import numpy as np
import pytest
import torch
from torch import nn

import secateur as sct
from balanced_matrices import random_balanced
from bridge_cases import CLOSE, apart, exact, glance
from secateur.bridge import deciding
from secateur.bridge.accelerated_conv import AcceleratedConv, Asked
from secateur.bridge.accelerated_linear import AcceleratedLinear
from secateur.bridge.timing import Comparison
from secateur.kernels import balanced_choice
from secateur.kernels.balanced_choice import BYTE_ERROR, BYTES, FLOAT

__all__ = ["glance"]


def balanced(inputs, outputs, count=4):
    layer = nn.Linear(inputs, outputs)
    layer.weight.data = torch.from_numpy(random_balanced(outputs, inputs, count))
    return layer


@pytest.fixture(autouse=True)
def balanced_wins(monkeypatch):
    """Of the ways that are measured the last is the fastest: balanced float32 behind the others, bytes with int8."""

    def timed(_setting, ways):
        order = {None: 3.0, FLOAT: 2.0, BYTES: 1.0}
        return [balanced_choice.replace(one, microseconds=order[one.arithmetic]) for one, _ in ways]

    monkeypatch.setattr(balanced_choice, "timed", timed)
    monkeypatch.setattr(balanced_choice, "read_object", lambda _: None)


@pytest.mark.parametrize("count", [1, 2, 4, 8])
@pytest.mark.parametrize(("inputs", "outputs"), [(33, 17), (100, 10), (64, 48), (17, 1)])
def test_odd_sizes_and_every_pattern(inputs, outputs, count):
    layer, x = balanced(inputs, outputs, count), torch.randn(2, 5, inputs)
    for accuracy, limit in (("default", CLOSE), ("int8", BYTE_ERROR)):
        fast = sct.accelerate(layer, x, accuracy=accuracy, measure=False)
        (row,) = fast.report.layers
        assert row.algorithm == f"balanced {count}:16 {'int8' if accuracy == 'int8' else 'float32'}" or inputs == 17
        assert apart(fast(x), exact(layer, x)) < limit


def test_a_shared_module_is_replaced_at_every_call():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = self.again = balanced(48, 48)

        def forward(self, x):
            y = self.layer(x)
            return self.again(y) if float(x.sum()) < 1e9 else y

    model, x = Shared().eval(), torch.randn(3, 48)
    fast = sct.accelerate(model, x, measure=False)
    assert [row.algorithm for row in fast.report.layers] == ["balanced 4:16 float32"]
    assert sum(isinstance(one, AcceleratedLinear) for _, one in fast.named_modules(remove_duplicate=False)) == 2
    assert apart(fast(x), exact(model, x)) < CLOSE


def test_a_convolution_with_one_tap_is_a_product_too():
    conv, x = nn.Conv2d(64, 32, 1), torch.randn(2, 64, 5, 5)
    conv.weight.data = torch.from_numpy(random_balanced(32, 64, 4))[:, :, None, None]
    fast = sct.accelerate(conv, x, measure=False)
    assert fast.report.layers[0].algorithm == "balanced 4:16 float32"
    assert apart(fast(x), exact(conv, x)) < CLOSE


@pytest.mark.parametrize("faster", [True, False])
def test_never_slower_than_torch(monkeypatch, faster):
    monkeypatch.setattr(deciding, "compare", lambda *_, **__: Comparison(10.0, 5.0, faster))
    monkeypatch.setattr("secateur.bridge.accelerate.compare", lambda *_, **__: Comparison(10.0, 5.0, True))
    layer, x = balanced(48, 48), torch.randn(3, 48)
    fast = sct.accelerate(layer, x)
    (row,) = fast.report.layers
    assert bool(row.algorithm) == faster
    assert faster or "balanced 4:16 float32 is not faster" in row.reason


def test_too_much_error_in_8_bits_stays_in_float32():
    """One input is a thousand times the others, which vanish in the token's scale; its own weights are zeros."""
    layer, x = balanced(64, 32), torch.randn(3, 64)
    layer.weight.data[:, 0] = 0
    x[:, 0] = 1e4
    fast = sct.accelerate(layer, x, accuracy="int8", measure=False)
    (row,) = fast.report.layers
    assert row.algorithm == "balanced 4:16 float32"
    assert row.tried.startswith("balanced 4:16 int8 has an error of ")
    assert row.tried in str(fast.report)
    assert apart(fast(x), exact(layer, x)) < 1e-4


def test_operator_in_8_bits():
    layer, x = balanced(48, 40), torch.randn(1, 48, 1, 6).contiguous(memory_format=torch.channels_last)
    made = AcceleratedLinear(layer, Asked(activations=BYTES))
    made.plan_for(torch.zeros(6, 48))
    torch.library.opcheck(
        torch.ops.secateur.conv2d_inference.default, (x, made.wide_weight, made.bias, None, made.layer)
    )
    torch._dynamo.reset()
    tokens = torch.randn(6, 48)
    with torch.no_grad():
        compiled = torch.compile(made, fullgraph=True, backend="aot_eager")(tokens)
    assert torch.equal(compiled, made(tokens))
    assert 1e-4 < apart(compiled, exact(layer, tokens)) < BYTE_ERROR


def chosen_for(layer, x):
    kernel = layer.kept(x, None).kernel
    assert kernel is not None
    return kernel.choice.chosen


def test_weights_that_change_are_looked_at_again():
    layer = AcceleratedLinear(balanced(48, 40), Asked())
    x = torch.randn(6, 48)
    layer.plan_for(x)
    assert chosen_for(layer, x).algorithm == "balanced 4:16 float32"
    with torch.no_grad():
        layer.wide_weight.copy_(torch.randn_like(layer.wide_weight))
    assert chosen_for(layer, x).arithmetic is None
    assert layer.bias is not None
    wanted = nn.functional.linear(x.double(), layer.weight.double(), layer.bias.double())
    assert apart(layer(x), wanted) < CLOSE


def test_a_copy_computes_the_same():
    layer, x = balanced(48, 40), torch.randn(6, 48)
    fast = sct.accelerate(layer, x, accuracy="int8", measure=False)
    assert torch.equal(copy.deepcopy(fast)(x), fast(x))
    assert np.isfinite(fast(x).numpy()).all()


CONVOLUTIONS = {
    "3x3": ((40, 24, 3), {"padding": 1}, (1, 40, 7, 9)),
    "stride and dilation per axis": ((40, 24, 3), {"stride": (2, 1), "dilation": (1, 2)}, (1, 40, 9, 9)),
    "5x5, stride 2": ((20, 17, 5), {"stride": 2, "padding": 2}, (3, 20, 9, 8)),
    "one tap, stride 2": ((40, 24, 1), {"stride": 2}, (1, 40, 7, 9)),
    "reflected": ((40, 24, 3), {"padding": 1, "padding_mode": "reflect"}, (1, 40, 7, 7)),
    "same, even taps": ((40, 24, (2, 4)), {"padding": "same", "bias": False}, (1, 40, 7, 7)),
    "without batch": ((40, 24, 3), {"padding": 1}, (40, 7, 7)),
    "a line": ((40, 24, 3), {"stride": 2}, (2, 40, 31)),
}


def convolution(word, count=4):
    """The layer of a word with n of 16 input channels at every tap, and an input."""
    torch.manual_seed(0)
    given, options, shape = CONVOLUTIONS[word]
    layer = (nn.Conv1d if len(shape) == 3 and word == "a line" else nn.Conv2d)(*given, **options)
    k, channels, *taps = layer.weight.shape
    rows = torch.from_numpy(random_balanced(k * int(np.prod(taps)), channels, count))
    layer.weight.data = rows.view(k, *taps, channels).movedim(-1, 1).contiguous()
    return layer, torch.randn(shape)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
@pytest.mark.parametrize("accuracy", ["default", "int8"])
@pytest.mark.parametrize("word", CONVOLUTIONS)
def test_every_word_of_a_convolution(word, accuracy):
    layer, x = convolution(word)
    fast = sct.accelerate(layer, x, accuracy=accuracy, measure=False)
    (row,) = fast.report.layers
    assert row.algorithm == f"balanced 4:16 {'int8' if accuracy == 'int8' else 'float32'}"
    limit = BYTE_ERROR if accuracy == "int8" else CLOSE
    assert row.error is not None
    assert apart(fast(x), exact(layer, x)) < limit
    other = torch.randn(*x.shape[:-1], x.shape[-1] + 2)
    assert apart(fast(other), exact(layer, other)) < CLOSE, "another size is computed by PyTorch"


def test_activation_and_residual_in_the_same_call():
    class Adds(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = convolution("3x3")[0], nn.BatchNorm2d(24)

        def forward(self, x, y):
            return torch.relu(self.norm(self.conv(x)) + y)

    model, x, y = Adds().eval(), torch.randn(2, 40, 7, 9), torch.randn(2, 24, 7, 9)
    for accuracy, limit in (("default", CLOSE), ("int8", BYTE_ERROR)):
        fast = sct.accelerate(model, (x, y), accuracy=accuracy, measure=False)
        (row,) = fast.report.layers
        assert (row.algorithm or "").startswith("balanced 4:16")
        assert row.fused == ("batch norm", "residual", "relu")
        with torch.no_grad():
            wanted = copy.deepcopy(model).double()(x.double(), y.double())
        assert apart(fast(x, y), wanted) < limit


def test_images_in_8_bits_do_not_depend_on_each_other():
    layer, _ = convolution("3x3")
    x = torch.randn(3, 40, 7, 9) * torch.tensor([1.0, 100.0, 0.01])[:, None, None, None]
    fast = sct.accelerate(layer, x, accuracy="int8", measure=False)
    among = fast(x)
    alone = sct.accelerate(layer, x[:1], accuracy="int8", measure=False)
    assert all(torch.equal(among[image], alone(x[image : image + 1])[0]) for image in range(3))


@pytest.mark.parametrize("accuracy", ["default", "int8"])
def test_a_convolution_whose_weights_change(accuracy):
    """Others of the pattern are packed anew; those that left it, with as many zeros, are computed otherwise."""
    layer, x = convolution("3x3")
    asked = Asked(activations=BYTES) if accuracy == "int8" else Asked()
    made = AcceleratedConv(layer, asked)
    made.plan_for(x)
    limit = BYTE_ERROR if accuracy == "int8" else CLOSE
    assert apart(made(x), exact(layer, x)) < limit
    for change in (lambda w: w.flip(0), lambda w: w.roll(1, 2), lambda w: w.sort(1).values):
        with torch.no_grad():
            made.wide_weight.copy_(change(made.wide_weight))
            layer.weight.copy_(made.wide_weight)
        assert apart(made(x), exact(layer, x)) < limit
    assert chosen_for(made, x).arithmetic is None


@pytest.mark.parametrize("accuracy", ["default", "int8"])
def test_several_threads_and_a_forked_child(accuracy):
    layer, x = convolution("5x5, stride 2")
    fast = sct.accelerate(layer, x, accuracy=accuracy, measure=False, threads=2)
    wanted = fast(x)
    found: list[torch.Tensor] = []
    callers = [threading.Thread(target=lambda: found.extend(fast(x) for _ in range(20))) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(found) == 60
    assert all(torch.equal(one, wanted) for one in found)
    child = os.fork()
    if child == 0:
        os._exit(0 if torch.equal(fast(x), wanted) else 1)
    assert os.waitpid(child, 0)[1] == 0
