"""bridge.recognising: which nodes one kernel may take, and which it must not."""

import operator

import pytest
import torch
from torch import fx, nn
from torch.nn import functional as F

from secateur.bridge.recognising import chains, foldable_norms


class Net(nn.Module):
    """Two convolutions and whatever a function does with them."""

    def __init__(self, body):
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)
        self.norm = nn.BatchNorm2d(2)
        self.relu, self.leaky = nn.ReLU(inplace=True), nn.LeakyReLU(0.3)
        self.body = body

    def forward(self, x):
        return self.body(self, x)


def longest(body):
    """What the best chain of `a` does besides, and its slope."""
    model = Net(body).eval()
    graph = fx.symbolic_trace(model)
    (conv,) = [node for node in graph.graph.nodes if node.target == "a"]
    best = chains(conv, graph)[0]
    return best.fused, best.slope


def shortcut(m, x):
    y = m.a(x)
    y += x
    return m.relu(y)


def watched(m, x):
    y = m.a(x)
    return F.relu(y) + y


def residual_changed(m, x):
    z = x + 1
    z.add_(m.a(x))
    return z * 2


def changed_between(m, x):
    y = m.a(x)
    x.add_(1)
    return y + m.b(x)


def activated_between(m, x):
    y = m.a(x)
    z = m.relu(x)
    return y + z


TAKEN = [
    (lambda m, x: m.a(x), ()),
    (lambda m, x: m.relu(m.a(x)), ("relu",)),
    (lambda m, x: torch.relu_(m.a(x)), ("relu",)),
    (lambda m, x: F.relu(m.a(x), inplace=True), ("relu",)),
    (lambda m, x: m.a(x).relu(), ("relu",)),
    (lambda m, x: F.relu6(m.a(x)), ("relu6",)),
    (lambda m, x: x + m.a(x), ("residual",)),
    (lambda m, x: torch.add(m.a(x), x), ("residual",)),
    (lambda m, x: F.relu(m.a(x).add_(x)), ("residual", "relu")),
    (lambda m, x: F.relu(m.b(x) + m.a(x)), ("residual", "relu")),
    (lambda m, x: m.relu(m.a(x)) + x, ("relu",)),
    (shortcut, ("residual", "relu")),
]
NOT_TAKEN = [
    (watched, ()),
    (residual_changed, ()),
    (changed_between, ()),
    (activated_between, ()),
    (lambda m, x: torch.add(m.a(x), x, alpha=2), ()),
    (lambda m, x: m.a(x) + 1, ()),
    (lambda m, x: torch.tanh(m.a(x)), ()),
    (lambda m, x: F.leaky_relu(m.a(x), -0.1), ()),
    (lambda m, x: operator.mul(m.a(x), x), ()),
]


@pytest.mark.parametrize(("body", "fused"), TAKEN + NOT_TAKEN)
def test_chains(body, fused):
    assert longest(body)[0] == fused


@pytest.mark.parametrize(
    ("body", "slope"),
    [
        (lambda m, x: m.leaky(m.a(x)), 0.3),
        (lambda m, x: F.leaky_relu(m.a(x), 0.2), 0.2),
        (lambda m, x: F.leaky_relu(m.a(x), negative_slope=0.4), 0.4),
        (lambda m, x: F.leaky_relu(m.a(x)), 0.01),
    ],
)
def test_slopes(body, slope):
    assert longest(body) == (("leaky_relu",), slope)


def test_an_activation_that_is_watched_stays():
    model = Net(lambda m, x: m.relu(m.a(x))).eval()
    model.relu.register_forward_hook(lambda *_: None)
    graph = fx.symbolic_trace(model)
    (conv,) = [node for node in graph.graph.nodes if node.target == "a"]
    assert chains(conv, graph)[0].fused == ()


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (lambda m, x: m.norm(m.a(x)), 1),
        (lambda m, x: m.norm(m.a(x) + x), 0),
        (lambda m, x: m.norm(m.a(m.a(x))), 0),
        (lambda m, x: (lambda y: m.norm(y) + y)(m.a(x)), 0),
    ],
)
def test_norms(body, count):
    graph = fx.symbolic_trace(Net(body).eval())
    convs = [node for node in graph.graph.nodes if node.target == "a"]
    assert len(foldable_norms(graph.graph, graph, convs)) == count


def test_a_norm_in_training_or_without_statistics_stays():
    model = Net(lambda m, x: m.norm(m.a(x)))
    for change in (lambda m: m.train(), lambda m: setattr(m, "norm", nn.BatchNorm2d(2, track_running_stats=False))):
        change(model)
        graph = fx.symbolic_trace(model)
        convs = [node for node in graph.graph.nodes if node.target == "a"]
        assert foldable_norms(graph.graph, graph, convs) == []
