"""accelerate on linear layers with n of 16, and in 8 bits: what runs, or why it is left, layer by layer."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import secateur as sct
from balanced_matrices import random_balanced
from bridge_cases import CLOSE, apart, exact, glance
from secateur.bridge import deciding
from secateur.bridge.accelerated_conv import Asked
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


class Lenet5(nn.Module):
    """As published, with every kernel size and width as odd as it is."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), balanced(120, 84), nn.Linear(84, 10)

    def forward(self, x):
        x = torch.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = torch.max_pool2d(torch.relu(self.conv2(x)), 2)
        return self.fc3(torch.relu(self.fc2(torch.relu(self.fc1(x.flatten(1))))))


@pytest.mark.parametrize("accuracy", ["default", "int8"])
def test_lenet_5_layer_by_layer(accuracy):
    """Every layer either runs on a kernel or says why not."""
    torch.manual_seed(0)
    model, x = Lenet5().eval(), torch.randn(3, 1, 28, 28)
    fast = sct.accelerate(model, x, accuracy=accuracy, measure=False)
    rows = {row.name: row for row in fast.report.layers}
    assert list(rows) == ["conv1", "conv2", "fc1", "fc2", "fc3"]
    assert all(bool(row.algorithm) != bool(row.reason) for row in rows.values())
    kinds = {name: rows[name].algorithm for name in ("fc1", "fc2", "fc3")}
    if accuracy == "int8":
        assert kinds == {"fc1": "dense int8", "fc2": "balanced 4:16 int8", "fc3": "dense int8"}
        assert all(1e-4 < (rows[name].error or 0) < BYTE_ERROR for name in kinds)
        assert 1e-4 < apart(fast(x), exact(model, x)) < BYTE_ERROR
    else:
        assert kinds == {"fc1": None, "fc2": "balanced 4:16 float32", "fc3": None}
        assert "not n of 16" in rows["fc1"].reason
        assert apart(fast(x), exact(model, x)) < CLOSE


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


@pytest.mark.parametrize("traced", [True, False])
def test_multihead_attention_says_why_not(traced):
    class Attends(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention, self.after = nn.MultiheadAttention(32, 4, batch_first=True), balanced(32, 32)

        def forward(self, x):
            x = x if traced or float(x.sum()) < 1e9 else -x
            return self.after(self.attention(x, x, x, need_weights=False)[0])

    model, x = Attends().eval(), torch.randn(2, 7, 32)
    fast = sct.accelerate(model, x, measure=False)
    rows = {row.name: row for row in fast.report.layers}
    assert rows["after"].algorithm == "balanced 4:16 float32"
    why = rows["attention" if traced else "attention.out_proj"].reason
    assert ("not MultiheadAttention" if traced else "not called as a module") in why
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
    assert fast.report.layers[0].algorithm == "balanced 4:16 float32"
    assert apart(fast(x), exact(layer, x)) < 1e-4


def test_operator_in_8_bits():
    layer, x = balanced(48, 40), torch.randn(1, 48, 1, 6).contiguous(memory_format=torch.channels_last)
    made = AcceleratedLinear(layer, Asked(activations=BYTES))
    made.plan_for(torch.zeros(6, 48))
    torch.library.opcheck(torch.ops.secateur.conv2d_inference.default, (x, made.weight, made.bias, None, made.layer))
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
        layer.weight.copy_(torch.randn_like(layer.weight))
    assert chosen_for(layer, x).arithmetic is None
    assert layer.bias is not None
    wanted = nn.functional.linear(x.double(), layer.weight[:, :, 0, 0].double(), layer.bias.double())
    assert apart(layer(x), wanted) < CLOSE


def test_a_copy_computes_the_same():
    layer, x = balanced(48, 40), torch.randn(6, 48)
    fast = sct.accelerate(layer, x, accuracy="int8", measure=False)
    assert torch.equal(copy.deepcopy(fast)(x), fast(x))
    assert np.isfinite(fast(x).numpy()).all()
