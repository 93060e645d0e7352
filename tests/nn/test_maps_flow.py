"""nn.maps.flow: makers and readers through what keeps a grid, signs, shapes for one example."""

import torch
from torch import nn

from secateur.nn.fx_graph import calls_of
from secateur.nn.maps.flow import Flow
from secateur.nn.maps.names import names_of


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.pool = nn.Linear(4, 4), nn.MaxPool1d(2)
        self.places = nn.Parameter(torch.ones(3, 4))

    def forward(self, x):
        y = torch.relu(self.fc(x))
        a, b = self.pool(y.transpose(1, 2)).chunk(2, 1)
        down = y + -1
        return torch.cat([a, b], 1).flatten(1), y.mean(1) + 1, down, self.places * 2, y.transpose(0, 1)


def flow_of(batch):
    calls = calls_of(Net(), 1)
    found = Flow(calls, (torch.randn(batch, 3, 4),))
    return found, {name: node for node, name in names_of(calls).items()}


def test_makers_and_readers():
    flow, named = flow_of(2)
    assert flow.maker(named["chunk.1"]) is named["relu"]
    assert flow.maker(named["flatten"]) is named["cat"]
    assert {node.name for node in flow.readers(named["relu"])} == {"cat", "mean", "add", "output"}
    assert flow.readers(named["fc"]) == {named["relu"]}


def test_signs():
    flow, named = flow_of(2)
    for name, signed in (("x", True), ("fc", True), ("relu", False), ("pool", False), ("cat", False), ("mean", False)):
        assert flow.signed[named[name]] is signed
    assert flow.signed[named["add"]], "a negative number was added"
    assert not flow.signed[named["add_1"]]
    assert flow.signed[named["places"]]


def test_shapes_are_for_one_example():
    for batch in (2, 5):
        flow, named = flow_of(batch)
        shapes = {name: flow.shape(node) for name, node in named.items()}
        assert shapes["relu"] == (3, 4)
        assert shapes["chunk"] == (2, 1)
        assert shapes["places"] == (3, 4)
        assert shapes["transpose_1"] == (3, 4)


def test_numbers_are_no_maps():
    class Numbers(nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.ones(1))

        def forward(self, x):
            return x + self.gain + x.sum() + x.sum(1, keepdim=True)

    calls = calls_of(Numbers(), 1)
    flow = Flow(calls, (torch.randn(2, 3),))
    named = {name: node for node, name in names_of(calls).items()}
    assert [flow.is_number(named[name]) for name in ("gain", "sum", "sum_1", "x")] == [True, True, False, False]
