"""nn.maps.names: what a person would call a map, by the graph alone, no name twice."""

import torch
from torch import nn

from map_nets import NETS, settled
from secateur.nn.fx_graph import calls_of
from secateur.nn.maps.modes import both_modes
from secateur.nn.maps.names import names_of


def names(model, given=1):
    return list(names_of(calls_of(model, given)).values())


def test_modules_functions_inputs_and_what_comes_again():
    class Inner(nn.Module):
        def __init__(self):
            super().__init__()
            self.act = nn.ReLU()

        def forward(self, y):
            return self.act(self.act(y).relu_() + y)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.relu, self.block, self.lstm = nn.ReLU(), Inner(), nn.LSTM(2, 2)

        def forward(self, x, other=None):
            x = torch.relu(self.relu(self.block(x)))
            return self.lstm(x)[1][0]

    found = names(Net())
    assert found[0] == "x"
    assert found[2:] if "other" in found[1] else True
    for name in ("block.act", "block.relu", "block.add", "block.act_1", "relu", "relu_1", "lstm", "lstm.1", "lstm.1.0"):
        assert name in found


def test_no_name_comes_twice_whatever_modules_are_called():
    model = nn.Sequential()
    model.add_module("relu", nn.ReLU())
    model.add_module("relu_1", nn.ReLU())

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.relu, self.relu_1 = nn.ReLU(), nn.ReLU()

        def forward(self, relu):
            return self.relu_1(torch.relu(self.relu(relu)))

    found = names(Net())
    assert found == ["relu", "relu_1", "relu_2", "relu_1_1"]


def test_both_modes_give_the_same_names():
    for net in NETS.values():
        modes = both_modes(settled(net), 1)
        assert list(names_of(modes.training).values()) == list(names_of(modes.evaluation).values())
