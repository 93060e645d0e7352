"""bridge.graph_forms: traced graphs in the form that the rest expects, computing what they did."""

import torch
from torch import fx, nn
from torch.nn import functional as F

from secateur.bridge.graph_forms import arguments_by_position, keep_what_is_read, to_channels_last
from secateur.bridge.tracing import traced

X = torch.randn(1, 3, 8, 8)


class ByName(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.watched = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.watched.register_forward_pre_hook(lambda *_: None)

    def forward(self, x):
        y = F.relu(input=self.watched(input=self.conv(input=x)))
        return torch.flatten(start_dim=1, input=y), torch.where(input=y, condition=y > 1, other=x)


def test_arguments_by_name():
    model = ByName().eval()
    graph = traced(model, (X,), model(X))
    assert isinstance(graph, fx.GraphModule)
    arguments_by_position(graph)
    graph.graph.lint()
    given = {node.name: (len(node.args), set(node.kwargs)) for node in graph.graph.nodes if node.op[:4] == "call"}
    del given["gt"]
    assert given == {
        "conv": (1, set()),
        "watched": (0, {"input"}),
        "relu": (1, {"inplace"}),
        "flatten": (1, {"start_dim"}),
        "where": (0, {"input", "condition", "other"}),
    }
    assert all(torch.equal(*pair) for pair in zip(graph(X), model(X), strict=True))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.scale = nn.Conv2d(3, 4, 3, bias=False), nn.Parameter(torch.ones(1))
        self.conv.register_buffer("held", torch.ones(1))

    def forward(self, x):
        return F.conv_transpose2d(self.conv(x) * self.conv.held, self.conv.weight) * self.scale


def test_what_is_read_of_a_layer_has_a_name_of_its_own():
    model = Tied().eval()
    graph = traced(model, (X,), model(X))
    assert isinstance(graph, fx.GraphModule)
    keep_what_is_read(graph)
    read = {str(node.target) for node in graph.graph.nodes if node.op == "get_attr"}
    assert read == {"conv_weight_as_read", "scale"} | ({"conv_held_as_read"} & read)
    assert torch.equal(graph(X), model(X))
    graph.get_submodule("conv").weight = nn.Parameter(torch.zeros(4, 3, 3, 3))
    assert graph.get_parameter("conv_weight_as_read").abs().max() > 0


def test_only_images_are_laid_out_channels_last():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv3d(3, 4, 3), nn.Linear(3, 4))
    to_channels_last(model)
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert model[1].weight.is_contiguous()
    assert model[2].weight.is_contiguous()
