"""accelerate on networks of odd sizes, shared modules and attention, whatever their weights: results are the same, and
every layer runs on a kernel or says why not."""

import pytest
import torch
from torch import nn

import secateur as sct
from bridge_cases import CLOSE, apart, exact, glance
from secateur.bridge import accelerate as verb
from secateur.bridge import deciding
from secateur.bridge.timing import Comparison
from secateur.ir.pattern import Pattern
from secateur.kernels import balanced_choice, sparse_choice
from secateur.kernels.balanced_choice import BYTE_ERROR, BYTES, FLOAT
from secateur.nn.grouping import Grouping

__all__ = ["glance"]

WEIGHTS = ("dense", "unstructured", "balanced", "balanced in 8 bits")
IN_8_BITS = 2 * BYTE_ERROR
"""Of several layers in a row."""


class Lenet5(nn.Module):
    """As published, with every kernel size and width as odd as it is."""

    example = (3, 1, 28, 28)
    names = ("conv1", "conv2", "fc1", "fc2", "fc3")

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x):
        x = torch.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = torch.max_pool2d(torch.relu(self.conv2(x)), 2)
        return self.fc3(torch.relu(self.fc2(torch.relu(self.fc1(x.flatten(1))))))


class OddSizes(nn.Module):
    """No dimension is a multiple of 8 or 16; a stride, a dilation, groups, and a convolution in one dimension."""

    example = (2, 21, 11, 9)
    names = ("wide", "strided", "grouped", "line", "last")

    def __init__(self):
        super().__init__()
        self.wide, self.strided = nn.Conv2d(21, 37, (3, 5), dilation=(2, 1)), nn.Conv2d(37, 45, 3, 2, padding=1)
        self.grouped, self.line = nn.Conv2d(45, 27, 3, padding=1, groups=3), nn.Conv1d(27, 19, 3)
        self.last = nn.Linear(19, 5)

    def forward(self, x):
        x = self.grouped(torch.relu(self.strided(torch.relu(self.wide(x)))))
        return self.last(torch.relu(self.line(x.flatten(2))).transpose(1, 2))


class Shared(nn.Module):
    """A convolution and a linear layer that are called twice."""

    example = (2, 33, 6, 7)
    names = ("conv", "conv", "linear", "linear")

    def __init__(self):
        super().__init__()
        self.conv, self.linear = nn.Conv2d(33, 33, 3, padding=1), nn.Linear(33, 33)

    def forward(self, x):
        x = self.conv(torch.relu(self.conv(x)))
        return self.linear(torch.relu(self.linear(x.mean((2, 3)))))


class Attends(nn.Module):
    """MultiheadAttention does not call its layers; the linear layer behind it is one like others."""

    example = (2, 7, 36)
    names = ("after", "attention")

    def __init__(self):
        super().__init__()
        self.attention, self.after = nn.MultiheadAttention(36, 4, batch_first=True), nn.Linear(36, 20)

    def forward(self, x):
        return self.after(self.attention(x, x, x, need_weights=False)[0])


class SharedUntraced(Shared):
    """What no tracer follows."""

    names = ("conv", "linear")

    def forward(self, x):
        return super().forward(x if float(x.sum()) < 1e9 else -x)


class AttendsUntraced(Attends):
    """The same."""

    names = ("after", "attention", "attention.out_proj")

    def forward(self, x):
        return super().forward(x if float(x.sum()) < 1e9 else -x)


NETWORKS = (Lenet5, OddSizes, Shared, SharedUntraced, Attends, AttendsUntraced)


@pytest.fixture(autouse=True)
def what_reads_zeros_wins(monkeypatch):
    """Of the ways to compute a layer: bytes, then balanced, then sparse, then the others."""

    def timed(_setting, ways):
        order = {BYTES: 1.0, FLOAT: 2.0}
        return [
            sparse_choice.replace(one, microseconds=order.get(one.arithmetic or "", 3.0 if one.cut else 4.0))
            for one, _ in ways
        ]

    for module in (balanced_choice, sparse_choice):
        monkeypatch.setattr(module, "timed", timed)
        monkeypatch.setattr(module, "read_object", lambda _: None)
        monkeypatch.setattr(module, "write_object", lambda *_: None)


def pruned(network, weights):
    """A network whose weights are dense, 90 % zeros at any place, or 4 of 16."""
    torch.manual_seed(0)
    model = network().eval()
    for module in model.modules():
        if weights == "dense" or not isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
            continue
        w = module.weight.data
        if weights == "unstructured":
            w *= w.abs() > w.abs().flatten().kthvalue(int(0.9 * w.numel())).values
        else:
            pattern = Pattern(4, 16)
            w *= Grouping.of(tuple(w.shape), 0, pattern).project(w.abs(), pattern)
    return model


def accelerated(network, weights, **options):
    model, x = pruned(network, weights), torch.randn(network.example)
    return model, x, sct.accelerate(model, x, accuracy="int8" if "8 bits" in weights else "default", **options)


def check(model, x, fast, weights):
    """The same results, for the example and for other inputs, and a row with a kernel or a reason for every layer."""
    limit = IN_8_BITS if "8 bits" in weights else CLOSE
    assert apart(fast(x), exact(model, x)) < limit
    other = torch.randn(x.shape[0] + 1, *x.shape[1:])
    assert apart(fast(other), exact(model, other)) < CLOSE, "computed by PyTorch"
    rows = fast.report.layers
    assert sorted(row.name for row in rows) == sorted(model.names)
    assert all(bool(row.algorithm) != bool(row.reason) for row in rows)
    assert all(row.error is not None for row in rows if row.algorithm)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("network", NETWORKS)
def test_every_layer_runs_on_a_kernel_or_says_why_not(network, weights):
    model, x, fast = accelerated(network, weights, measure=False)
    check(model, x, fast, weights)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("network", NETWORKS)
def test_what_is_not_faster_says_so(monkeypatch, network, weights):
    monkeypatch.setattr(deciding, "compare", lambda *_, **__: Comparison(5.0, 10.0, False))
    monkeypatch.setattr(verb, "compare", lambda *_, **__: Comparison(5.0, 10.0, False))
    model, x, fast = accelerated(network, weights)
    check(model, x, fast, weights)
    assert fast.report.replaced == 0
    assert torch.equal(fast(x), model(x))
    tried = [row for row in fast.report.layers if row.error is not None]
    assert all("is not faster by more than noise" in row.reason for row in tried)
    assert all(row.before_us and row.after_us for row in tried)


LENET = {
    "dense": {"fc1": None, "fc2": None, "fc3": None},
    "unstructured": {"conv1": "sparse", "conv2": "sparse", "fc1": "sparse", "fc2": "sparse", "fc3": "sparse"},
    "balanced": {"conv2": "balanced 2:16 float32"} | dict.fromkeys(("fc1", "fc2", "fc3"), "balanced 4:16 float32"),
    "balanced in 8 bits": {"conv2": "balanced 2:16 int8"} | dict.fromkeys(("fc1", "fc2", "fc3"), "balanced 4:16 int8"),
}
"""What computes LeNet-5's layers; conv1 has one input channel, of which there is no pattern."""


@pytest.mark.parametrize("weights", WEIGHTS)
def test_which_kernel_computes_lenet_5(weights):
    _, _, fast = accelerated(Lenet5, weights, measure=False)
    found = {row.name: row for row in fast.report.layers}
    assert {name: found[name].algorithm for name in LENET[weights]} == LENET[weights]
    if weights == "dense":
        assert all("0% zeros, not n of 16" in found[name].reason for name in LENET[weights])
    if "8 bits" in weights:
        assert all(1e-4 < (found[name].error or 0) < BYTE_ERROR for name in LENET[weights])


@pytest.mark.parametrize(("weights", "algorithm"), [("balanced", "float32"), ("balanced in 8 bits", "int8")])
def test_convolutions_of_odd_sizes_have_balanced_kernels(weights, algorithm):
    """But not in groups, which have another reason to be left or to run dense."""
    _, _, fast = accelerated(OddSizes, weights, measure=False)
    found = {row.name: row.algorithm or "" for row in fast.report.layers}
    assert all(found[name] == f"balanced 4:16 {algorithm}" for name in ("wide", "strided", "line", "last"))
    assert "balanced" not in found["grouped"]


@pytest.mark.parametrize("network", [Attends, AttendsUntraced])
def test_attention_says_why_not(network):
    _, _, fast = accelerated(network, "balanced", measure=False)
    reasons = {row.name: row.reason for row in fast.report.layers}
    assert reasons["attention"] == "kernels compute Conv1d, Conv2d and Linear, not MultiheadAttention"
    assert reasons["after"] == ""
    assert "not called as a module" in reasons.get("attention.out_proj", "not called as a module")
