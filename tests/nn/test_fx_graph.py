"""nn.fx_graph: models as calls, in either mode, left as they were; randomness that a graph would freeze is refused."""

import random
from types import MethodType

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.fx.proxy import TraceError

from secateur.nn.fx_graph import calls_of, difference, place_of, watched

X = torch.randn(2, 3)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 3)
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, x, mask=None):
        self.steps.add_(1)
        self.seen = y = F.dropout(self.fc(x), training=self.training)
        return y if mask is None else y * mask


def test_calls_and_whose_code_makes_them():
    calls = calls_of(nn.Sequential(Block(), nn.ReLU()), 1, buffers=True)
    scopes = [(node.op, node.name, calls.scopes.get(node.name)) for node in calls.module.graph.nodes]
    assert ("call_function", "dropout", "0") in scopes
    assert ("call_module", "_1", "1") in scopes


def test_a_forward_put_on_the_object_is_traced():
    model, kind = Block().eval(), Block
    model.forward = MethodType(lambda self, x: self.fc(x).relu(), model)
    own = model.forward
    calls = calls_of(model, 1)
    assert [node.name for node in calls.module.graph.nodes] == ["x", "fc", "relu", "output"]
    assert torch.equal(calls.module(X), model(X))
    assert (type(model), vars(model)["forward"]) == (kind, own), "left as it was"


def test_functions_keep_the_mode_they_were_traced_in():
    model = Block()
    for training in (True, False):
        (dropout,) = calls_of(model.train(training), 1).module.graph.find_nodes(op="call_function", target=F.dropout)
        assert dropout.kwargs["training"] is training


def test_tracing_leaves_the_model_as_it_was():
    model = Block()
    before = dict(model.__dict__)
    calls_of(model, 1, buffers=True)
    assert model.__dict__ == before
    assert model.steps == 0, "a change of a buffer is a call like others"


def test_kinds_of_leaves_stay_calls_also_as_subclasses():
    class Own(nn.Linear):
        def forward(self, x):
            return super().forward(x) * 2

    model = nn.Sequential(Own(3, 3))
    assert [n.op for n in calls_of(model, 1).module.graph.nodes].count("call_module") == 0
    assert [n.op for n in calls_of(model, 1, (nn.Linear,)).module.graph.nodes].count("call_module") == 1


def test_what_depends_on_data_or_chance_is_refused_with_its_place():
    class Branch(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    class Chance(nn.Module):
        def forward(self, x):
            return x if random.random() > 0.5 else -x

    with pytest.raises(TraceError) as caught:
        calls_of(Branch(), 1)
    assert "test_fx_graph.py" in place_of(caught.value)
    assert "x.sum() > 0" in place_of(caught.value)
    with pytest.raises(TraceError, match="random numbers"):
        calls_of(Chance(), 1)


def test_loops_run_over_parts_whose_number_the_code_says():
    class Parts(nn.Module):
        def forward(self, x):
            a, b = (part + 1 for part in x.chunk(2, 1))
            for part in torch.split(x, [1, 3], dim=1):
                a = a + part.sum(1, keepdim=True)
            return a * b

    x = torch.randn(2, 4)
    assert torch.equal(calls_of(Parts(), 1).module(x), Parts()(x))

    class Unknown(nn.Module):
        def forward(self, x):
            return sum(part.sum() for part in x.split(2, 1))

    with pytest.raises(TraceError, match="iterated"):
        calls_of(Unknown(), 1)


def test_watching_sees_every_tensor():
    calls = calls_of(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), 1)
    seen = watched(calls.module, (X,), lambda value: tuple(value.shape))
    assert [seen[node] for node in calls.module.graph.nodes if node.op == "call_module"] == [(2, 4), (2, 4)]


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
