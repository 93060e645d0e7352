"""bridge.module_sites: models that are no graph, whose code reads what it calls; and the same in traced ones."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import secateur as sct
from bridge_cases import CLOSE, apart, exact, settled


def sparse_(model):
    """95 % zeros in every matrix."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data[torch.rand_like(parameter) < 0.95] = 0
    return model


def encoder():
    return nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)


def accelerated(model, *inputs):
    """With the outputs compared on the example."""
    model.eval()
    with torch.no_grad():
        fast = sct.accelerate(model, inputs, measure=False)
        assert apart(fast(*inputs), model(*inputs)) < CLOSE
    return fast


INSIDE = "it is inside TransformerEncoderLayer, which computes on its own"


def test_layers_that_torchs_fast_path_reads_stay():
    model = sparse_(nn.TransformerEncoder(encoder(), 2, enable_nested_tensor=False))
    rows = accelerated(model, torch.randn(1, 8, 64)).report.layers
    names = {row.name: row.reason for row in rows}
    assert names["layers.0.linear1"] == names["layers.1.linear2"] == INSIDE
    assert "not MultiheadAttention" in names["layers.1.self_attn"]
    assert len(names) == len(rows) == 6


def test_layers_inside_a_module_that_a_graph_calls_have_rows():
    fast = accelerated(nn.Sequential(sparse_(encoder()), sparse_(nn.Linear(64, 8))), torch.randn(1, 8, 64))
    rows = {row.name: row for row in fast.report.layers}
    assert list(rows) == ["1", "0.linear1", "0.linear2", "0.self_attn"]
    assert rows["1"].algorithm is not None
    assert rows["0.linear1"].reason == INSIDE


class Tied(nn.Module):
    """A layer whose weight is read again by a function: traced, or not."""

    def __init__(self, layer, back, branches, norm=None):
        super().__init__()
        self.c, self.back, self.branches, self.norm = layer, back, branches, norm or nn.Identity()

    def forward(self, x):
        if self.branches and x.sum() > 1e9:
            x = x + 1
        return self.back(F.relu(self.norm(self.c(x))), self.c.weight)


TIED = {
    "linear": (lambda: sparse_(nn.Linear(64, 32, bias=False)), lambda y, w: F.linear(y, w.t()), (4, 64)),
    "line": (lambda: nn.Conv1d(3, 8, 3), F.conv_transpose1d, (1, 3, 32)),
    "image": (lambda: nn.Conv2d(3, 8, 3), F.conv_transpose2d, (1, 3, 8, 8)),
}


@pytest.mark.parametrize("branches", [True, False])
@pytest.mark.parametrize("kind", TIED)
def test_a_weight_that_is_read_again(kind, branches):
    make, back, shape = TIED[kind]
    fast = accelerated(Tied(make(), back, branches), torch.randn(shape))
    assert fast.report.replaced == 1


def test_a_norm_is_not_folded_into_what_is_read_again():
    model = settled(Tied(nn.Conv2d(3, 8, 3), F.conv_transpose2d, False, nn.BatchNorm2d(8)))
    fast = accelerated(model, torch.randn(1, 3, 8, 8))
    assert "batch norm" in fast.report.layers[0].fused


class Reading(nn.Module):
    """Attributes of a layer are read, one of them the model's own, and it is called by name."""

    def __init__(self):
        super().__init__()
        self.c = nn.Conv2d(3, 8, 3)
        self.c.twice = 2

    def forward(self, x):
        if x.sum() > 1e9:
            x = x + 1
        return self.c(input=x).reshape(x.shape[0], self.c.out_channels, -1) * self.c.twice


def test_attributes_that_are_read_are_carried():
    fast = accelerated(Reading(), torch.randn(1, 3, 8, 8))
    assert fast.report.replaced == 1
    assert fast.body.c.kernel_size == (3, 3)


class ByName(nn.Module):
    def __init__(self):
        super().__init__()
        self.c = nn.Conv2d(3, 8, 3)

    def forward(self, x):
        return self.c(input=x)


def test_a_layer_called_by_name_in_a_graph():
    assert accelerated(ByName(), torch.randn(1, 3, 8, 8)).report.replaced == 1
    watched = ByName()
    watched.c.register_forward_pre_hook(lambda *_: None)
    (row,) = accelerated(watched, torch.randn(1, 3, 8, 8)).report.layers
    assert row.reason == "it has hooks"


class OwnForward(nn.Module):
    def __init__(self):
        super().__init__()
        self.c = nn.Conv2d(3, 8, 3)
        self.c.forward = lambda x: F.conv2d(x, self.c.weight) * 2

    def forward(self, x):
        return self.c(x)


def test_a_forward_put_on_a_layer_is_what_runs():
    (row,) = accelerated(OwnForward(), torch.randn(1, 3, 8, 8)).report.layers
    assert row.reason == "Conv2d computes in its own way"


class AsComplex(nn.Module):
    def __init__(self):
        super().__init__()
        self.c = nn.Conv2d(3, 8, 3)

    def forward(self, x):
        return torch.view_as_complex(self.c(x).unflatten(-1, (3, 2))).abs()


def test_code_that_needs_its_layout_keeps_it():
    fast = accelerated(AsComplex(), torch.randn(1, 3, 8, 8))
    assert fast.report.replaced == 1
    assert fast.report.notes[0].startswith("its code needs NCHW, so single convolutions were replaced")


class Own(nn.Linear):
    pass


def test_a_subclass_that_changes_nothing_is_replaced():
    assert accelerated(nn.Sequential(sparse_(Own(64, 32))), torch.randn(4, 64)).report.replaced == 1


def test_three_dimensions_beside_two():
    model = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.Flatten(1, 2), nn.Conv2d(32, 8, 3))
    fast = accelerated(model, torch.randn(1, 1, 8, 8, 8))
    assert [(row.name, row.algorithm is None) for row in fast.report.layers] == [("2", False), ("0", True)]
    assert not fast.report.notes


class Sum(nn.Module):
    def __init__(self):
        super().__init__()
        self.c = nn.Conv2d(3, 8, 3)

    def forward(self, x, r):
        return self.c(x) + r


def test_a_sum_that_broadcasts_in_a_later_call():
    model, x = Sum(), torch.randn(1, 3, 8, 8)
    fast = accelerated(model, x, torch.randn(1, 8, 6, 6))
    assert fast.report.layers[0].fused == ("residual",)
    for shape in ((1, 8, 1, 1), (6,), (2, 8, 6, 6)):
        residual = torch.randn(shape)
        assert apart(fast(x, residual), exact(model.c, x) + residual.double()) < CLOSE
