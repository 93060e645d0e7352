"""bridge.graph_sites: traced models rewritten, compared with the original in float64."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bridge_cases import CLOSE, Residual, SmallNet, apart, exact, settled
from secateur.bridge.accelerated_conv import AcceleratedConv
from secateur.bridge.graph_sites import replace_in_graph
from secateur.bridge.tracing import traced
from secateur.bridge.trial import Trial

X = torch.randn(1, 3, 12, 12, generator=torch.Generator().manual_seed(0))


def rewritten(model, *inputs):
    """The graph and its rows, checked against float64."""
    with torch.no_grad():
        graph = traced(copy.deepcopy(model), inputs, model(*inputs))
        rows = replace_in_graph(graph, inputs, Trial(measure=False))
        expected = copy.deepcopy(model).double()(*(x.double() for x in inputs))
        assert apart(graph(*inputs), expected) < CLOSE
    return graph, rows


def test_norms_residuals_and_activations_become_one_call():
    graph, rows = rewritten(settled(SmallNet()), X)
    assert {row.name: row.fused for row in rows} == {
        "stem.0": ("batch norm", "leaky_relu"),
        "blocks.0.conv1": ("batch norm", "relu"),
        "blocks.0.conv2": ("batch norm", "residual", "relu"),
        "blocks.1.conv1": ("batch norm", "relu"),
        "blocks.1.conv2": ("batch norm", "residual", "relu"),
        "blocks.1.short.0": ("batch norm",),
        "classify": (),
    }
    kinds = [type(module) for module in graph.modules()]
    assert kinds.count(AcceleratedConv) == 6
    assert nn.BatchNorm2d not in kinds
    assert nn.ReLU not in kinds


def test_a_residual_that_was_itself_replaced():
    _, rows = rewritten(settled(nn.Sequential(Residual(3), Residual(3), Residual(3))), X)
    assert [row.fused[1:] for row in rows] == [("relu",), ("residual", "relu")] * 3


class Shared(nn.Module):
    """One convolution called on two sizes."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return F.relu(self.conv(self.conv(x)[..., ::2]))


def test_a_shared_convolution_has_a_row_a_call():
    graph, rows = rewritten(Shared().eval(), X)
    assert [row.name for row in rows] == ["conv", "conv"]
    assert [row.fused for row in rows] == [(), ("relu",)]
    assert sum(isinstance(module, AcceleratedConv) for module in graph.modules()) == 2


class Mixed(nn.Module):
    """What no kernel takes beside what one does, and a residual that is broadcast."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.up = nn.ConvTranspose2d(4, 4, 2, stride=2)
        self.weight = nn.Parameter(torch.randn(4, 4, 1, 1))

    def forward(self, x):
        y = self.conv(x) + x[:, :1]
        return F.conv2d(self.up(y), self.weight)


def test_what_is_left_has_a_reason():
    _, rows = rewritten(Mixed().eval(), X)
    assert [(row.name, row.algorithm is None) for row in rows] == [("conv", False), ("up", True), ("conv2d", True)]
    assert rows[0].fused == (), "a residual of another shape is not fused"
    assert "ConvTranspose2d" in rows[1].reason
    assert "called as a function" in rows[2].reason


def test_a_layer_that_stays_keeps_its_norm_folded():
    model = settled(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()))
    model[0].register_forward_hook(lambda *_: None)
    graph, rows = rewritten(model, X)
    assert rows[0].reason == "it has hooks"
    assert any(isinstance(module, nn.BatchNorm2d) for module in graph.modules()), "and so its norm stays too"


@pytest.mark.parametrize("inplace", [True, False])
def test_an_output_keeps_its_layout(inplace):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace)).eval()
    graph, _ = rewritten(model, X)
    assert graph(X).is_contiguous()
    assert apart(graph(X), exact(model, X)) < CLOSE
