"""nn.fx_graph: models as calls, in either mode, left as they were; randomness that a graph would freeze is refused."""

import enum
import random
from dataclasses import dataclass, field
from types import MethodType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.fx.proxy import TraceError

from secateur.nn.fx_graph import calls_of, difference, fresh, is_looked_into, place_of, watched

X = torch.randn(2, 3)


class Mode(enum.Enum):
    A = 1
    B = 2


class Odd:
    def __eq__(self, other):
        return X == X


@dataclass
class Out:
    y: Any
    more: Any = field(default_factory=dict)


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


def test_the_graph_takes_what_is_given_and_knows_the_rest():
    class Settings(nn.Module):
        def forward(self, x, mask=None, size=(1.0, 2.0), shift=X[0], dtype=torch.float64, *, mode=Mode.A):
            y = x if mask is None else x * mask
            y = y * size[1] + shift if mode is Mode.A else -y
            return y.to(dtype)

    model = Settings()
    for given in ((X,), (X, X), (X, X, (3.0, 4.0))):
        module = calls_of(model, len(given)).module
        assert torch.equal(module(*given), model(*given))
        assert len(module.graph.find_nodes(op="placeholder")) == len(given)
    none = calls_of(model, 2, constants={1: None}).module
    assert torch.equal(none(X, None), model(X))


def test_inputs_by_number():
    class Several(nn.Module):
        def forward(self, x, *others, scale=2.0):
            return sum(others, x) * scale

    module = calls_of(Several(), 3).module
    assert [node.target for node in module.graph.find_nodes(op="placeholder")] == ["x", "others_0", "others_1"]
    assert torch.equal(module(X, X, X), 6 * X)


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


def test_what_is_looked_into():
    seen = [is_looked_into(one) for one in (Block(), nn.Sequential(), nn.Linear(3, 3), nn.MultiheadAttention(4, 2))]
    assert seen == [True, True, False, False]
    assert not is_looked_into(Block(), (Block,))


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


def test_fresh_inputs_are_copies_that_stay_the_same_where_they_were():
    inputs = (X, {"again": X, "mode": Mode.A})
    one, other = fresh(inputs)
    assert one is other["again"] is not X
    assert torch.equal(one, X)
    assert other["mode"] is Mode.A


def test_watching_leaves_inputs_as_they_are():
    class InPlace(nn.Module):
        def forward(self, x):
            return x.mul_(2)

    x = torch.ones(2)
    assert list(watched(calls_of(InPlace(), 1).module, (x,), lambda value: float(value.sum())).values())[-1] == 4
    assert torch.equal(x, torch.ones(2))


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
        (Out(torch.ones(2)), Out(torch.ones(2)), 0.0),
        ([Out(torch.ones(2))], [Out(torch.ones(2) / 2)], 0.5),
        (Out(X, {"a": torch.ones(2)}), Out(X, {"a": torch.ones(3)}), float("inf")),
        (Out(X), X, float("inf")),
        (np.ones(2), np.array([1.0, 0.5]), 0.5),
        (np.array(["a"]), np.array(["a"]), float("inf")),
        ([np.ones(2), 4.0], [np.ones(2), 3.0], 0.25),
        ({np.float32: {1}}, {np.float32: {2}}, float("inf")),
        (Odd(), Odd(), float("inf")),
        (Mode.A, Mode.B, float("inf")),
    ],
)
def test_difference(expected, found, apart):
    assert difference(expected, found) == apart
