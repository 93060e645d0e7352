"""bridge.tracing: models as graphs, or the reason why not; what layouts may pass."""

import pytest
import torch
from torch import fx, nn

from bridge_cases import Branching, SmallNet, settled
from secateur.bridge.tracing import difference, keep_layout_of_outputs, let_any_layout_pass, traced, watched

X = torch.randn(1, 3, 12, 12)


def test_an_argument_left_at_its_default():
    model = settled(SmallNet())
    graph = traced(model, (X,), model(X))
    assert isinstance(graph, fx.GraphModule)
    assert torch.equal(graph(X), model(X))


def test_what_does_nothing_in_evaluation_goes():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Dropout(), nn.Identity(), nn.ReLU()).eval()
    graph = traced(model, (X,), model(X))
    assert [node.target for node in graph.graph.nodes if node.op == "call_module"] == ["0", "3"]


def test_control_flow_by_data_is_said():
    model = Branching().eval()
    x = torch.randn(1, 4, 5, 5)
    assert "TraceError" in traced(model, (x,), model(x))


def test_a_graph_that_computes_something_else_is_not_taken():
    class Counting(nn.Module):
        calls = 0

        def forward(self, x):
            Counting.calls += 1
            return x * Counting.calls

    model = Counting()
    assert "something else" in traced(model, (X,), model(X))


def test_view_becomes_reshape_and_outputs_keep_their_layout():
    class Net(nn.Module):
        def forward(self, x):
            flat = x.view(x.size(0), -1)
            return x + 1, flat, x.view(torch.int32)

    graph = traced(Net(), (X,), Net()(X))
    let_any_layout_pass(graph)
    keep_layout_of_outputs(graph, watched(graph, (X,)))
    turned = X.contiguous(memory_format=torch.channels_last)
    image, flat, bits = graph(turned)
    assert image.is_contiguous()
    assert torch.equal(flat, X.flatten(1))
    assert bits.dtype == torch.int32


@pytest.mark.parametrize(
    ("expected", "found", "apart"),
    [
        (torch.ones(3), torch.ones(3), 0.0),
        (torch.tensor([4.0, 2.0]), torch.tensor([4.0, 1.0]), 0.25),
        ({"a": torch.tensor([2])}, {"a": torch.tensor([1])}, 0.5),
        (torch.ones(3), torch.ones(4), float("inf")),
        (torch.ones(3), torch.ones(3).double(), float("inf")),
        (torch.ones(1), (torch.ones(1),), float("inf")),
        (torch.tensor([float("nan")]), torch.tensor([float("nan")]), 0.0),
        (torch.tensor([float("inf"), 1.0]), torch.tensor([float("inf"), 1.5]), 0.5),
        (torch.tensor([1.0]), torch.tensor([float("nan")]), float("inf")),
        (torch.zeros(2), torch.ones(2), float("inf")),
        (torch.zeros(0), torch.zeros(0), 0.0),
        ((torch.ones(1), 3), (torch.ones(1), 4), float("inf")),
    ],
)
def test_difference(expected, found, apart):
    assert difference(expected, found) == apart
