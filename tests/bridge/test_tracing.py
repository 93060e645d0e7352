"""bridge.tracing: models as graphs, or the reason why not; what layouts may pass."""

from dataclasses import dataclass

import pytest
import torch
from torch import fx, nn

from bridge_cases import Branching, SmallNet, settled
from secateur.bridge.tracing import keep_layout_of_outputs, let_any_layout_pass, look, traced
from secateur.nn.fx_graph import watched

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
            other = x.view(size=(x.size(0), -1)).view_as(flat)
            return x + 1, flat, x.view(torch.int32), x.view(dtype=torch.int32), other

    graph = traced(Net(), (X,), Net()(X))
    let_any_layout_pass(graph)
    keep_layout_of_outputs(graph, watched(graph, (X,), look))
    turned = X.contiguous(memory_format=torch.channels_last)
    image, flat, bits, same, other = graph(turned)
    assert image.is_contiguous()
    assert torch.equal(flat, X.flatten(1))
    assert torch.equal(other, flat)
    assert bits.dtype == same.dtype == torch.int32


def test_outputs_with_fewer_dimensions_than_an_image_keep_their_layout_too():
    class Net(nn.Module):
        def forward(self, x):
            return x.flatten(2), x[:, :, 0], x[0, :, 0], x[0, 0].select(0, 1), x.sum()

    graph = traced(Net(), (X,), Net()(X))
    assert isinstance(graph, fx.GraphModule)
    keep_layout_of_outputs(graph, watched(graph, (X,), look))
    turned = X.contiguous(memory_format=torch.channels_last)
    for before, plain, after in zip(Net()(X), Net()(turned), graph(turned), strict=True):
        assert after.is_contiguous() == (before.is_contiguous() or plain.is_contiguous())


@dataclass
class Out:
    y: torch.Tensor


def test_outputs_in_a_dataclass_keep_their_layout():
    class Net(nn.Module):
        def forward(self, x):
            return Out(x + 1)

    graph = traced(Net(), (X,), Net()(X))
    assert isinstance(graph, fx.GraphModule)
    keep_layout_of_outputs(graph, watched(graph, (X,), look))
    turned = graph(X.contiguous(memory_format=torch.channels_last)).y
    assert turned.is_contiguous()
    assert torch.equal(turned, X + 1)


REGISTER = (
    nn.Module.register_forward_hook,
    nn.Module.register_forward_pre_hook,
    nn.Module.register_full_backward_hook,
    nn.Module.register_full_backward_pre_hook,
)


@pytest.mark.parametrize("register", REGISTER)
@pytest.mark.parametrize(("place", "said"), [("", "the model itself"), ("0", "'0'"), ("0.0", "")])
def test_a_model_whose_hooks_would_vanish_is_not_traced(register, place, said):
    """Those of torch's own modules stay, as these stay calls of modules."""
    model, called = nn.Sequential(nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU())).eval(), []
    expected = model(X)
    register(model.get_submodule(place), lambda *_: called.append(1))
    found = traced(model, (X,), expected)
    assert not called or not said, "nor called with stand-ins"
    assert found == f"hooks of {said} would not be called" if said else isinstance(found, fx.GraphModule)


def test_an_example_stays_as_it_is():
    class InPlace(nn.Module):
        def forward(self, x):
            return x.sub_(0.5) * 2

    x = X.clone()
    assert isinstance(traced(InPlace(), (x,), InPlace()(X.clone())), fx.GraphModule)
    assert torch.equal(x, X)


def test_a_subclass_of_linear_stays_a_call():
    class Own(nn.Linear):
        pass

    model, x = nn.Sequential(Own(3, 4)).eval(), torch.randn(2, 3)
    graph = traced(model, (x,), model(x))
    assert [node.op for node in graph.graph.nodes] == ["placeholder", "call_module", "output"]
