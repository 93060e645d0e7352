"""An artifact restored into a new model of the same architecture makes it the same function; misfits change nothing."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils import _pytree
from zoo import ZOO, another, inputs_of, model_of, packed

from secateur.errors import ArtifactError, SecateurWarning
from secateur.ir.artifact import Artifact
from secateur.ir.execute import interpret
from secateur.ir.rules import Prune
from secateur.ir.target import Target
from secateur.nn.check import check
from secateur.nn.harden import harden_
from secateur.nn.pack import pack
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_
from secateur.nn.restore import restore_
from secateur.nn.strip import strip_


def outputs(model, inputs):
    with torch.no_grad():
        return [tensor.numpy() for tensor in _pytree.tree_leaves(model(*inputs))]


def interpreted(artifact, inputs):
    found = interpret(artifact, *(tensor.numpy() for tensor in inputs))
    return found if isinstance(found, tuple) else (found,)


def assert_close(ours, theirs):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert np.abs(a - b).max() <= 1e-5 * np.abs(b).max()


@pytest.mark.parametrize("name", ZOO)
def test_a_restored_model_computes_what_the_artifact_computes(name):
    """In a pruned model: dead units removed, norms folded, half of the weights zero."""
    artifact, inputs = packed(name), inputs_of(name, 3)
    fresh = another(name)
    keys = list(fresh.state_dict())
    assert restore_(fresh, artifact) is fresh
    assert_close(outputs(fresh, inputs), interpreted(artifact, inputs))
    assert_close(outputs(fresh, inputs), outputs(model_of(name), inputs))
    assert set(keys) <= set(fresh.state_dict())


def test_the_zoo_has_something_to_restore():
    artifact = packed("residual")
    assert len(artifact.folds) >= 3
    assert artifact.units
    assert artifact.axes
    assert any(node.op == "batch_norm" for node in artifact.graph.nodes), "one norm cannot be folded"


def test_tied_weights_stay_tied():
    fresh = another("sentence")
    restore_(fresh, packed("sentence"))
    assert fresh.head.weight is fresh.words.weight


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_folded_norms_become_identities(affine, bias):
    def build():
        return nn.Sequential(nn.Conv1d(2, 3, 1, bias=bias), nn.BatchNorm1d(3, eps=0.5, affine=affine), nn.ReLU())

    torch.manual_seed(0)
    model = build().eval()
    model[1].running_mean.copy_(torch.tensor([0.5, -1.0, 2.0]))
    model[1].running_var.copy_(torch.tensor([0.5, 1.0, 2.0]))
    x = torch.randn(4, 2, 5)
    fresh = restore_(build().eval(), pack(model, x))
    assert_close(outputs(fresh, (x,)), outputs(model, (x,)))
    assert (fresh[1].running_var + 0.5 == 1).all()
    assert (fresh[0].bias is None) == (not bias), "the norm takes the bias where the layer has none"


class Functional(nn.Module):
    """A convolution whose weight is the module's own: it has no bias to give one to."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 2, 1))
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x):
        return self.norm(F.conv1d(x, self.weight))


def test_a_norm_behind_a_functional_layer():
    model, x = Functional().eval(), torch.randn(3, 2, 5)
    model.norm.running_mean.copy_(torch.arange(4.0))
    artifact = pack(model, x)
    assert artifact.folds
    assert_close(outputs(restore_(Functional().eval(), artifact), (x,)), outputs(model, (x,)))


class Placed(nn.Module):
    """Positions from a buffer, which end up in the graph under another name."""

    def __init__(self, shift=0):
        super().__init__()
        self.places = nn.Embedding(8, 3)
        self.register_buffer("positions", (torch.arange(8) + shift) % 8)

    def forward(self, x):
        return x + self.places(self.positions[: x.shape[1]] + 0)


def test_a_buffer_that_went_into_the_graph_must_be_the_same():
    model, x = Placed(), torch.randn(2, 4, 3)
    artifact = Artifact.from_bytes(pack(model, x).to_bytes())
    assert list(artifact.meta["folded"]) == ["positions"]
    assert_close(outputs(restore_(Placed(), artifact), (x,)), outputs(model, (x,)))
    with pytest.raises(ArtifactError, match="the buffer 'positions' differs"):
        restore_(Placed(1), artifact)


def narrower():
    model = another("lenet5")
    model[8] = nn.Linear(10, 9)
    return model


def deeper():
    return nn.Sequential(*another("lenet5"), nn.Linear(10, 10))


def shallower():
    return another("lenet5")[:6]


def renamed():
    model = another("lenet5")
    return nn.Sequential(model[:8], nn.ModuleDict({"head": model[8]})["head"])


def with_statistics():
    return nn.Sequential(*another("lenet5"), nn.BatchNorm1d(10, affine=False))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (narrower, r"8\.weight is \(9, 10\) in the model and \(10, 10\)"),
        (deeper, "has no '9.weight', which this model needs; did you mean"),
        (shallower, "holds '8.weight', which this model does not have; did you mean"),
        (renamed, "holds '0.weight', which this model does not have; did you mean .*'0.0.weight'"),
        (with_statistics, "has no '9.running_mean'"),
    ],
)
def test_a_misfit_is_named_and_changes_nothing(build, message):
    artifact, model = packed("lenet5"), build()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ArtifactError, match=message):
        restore_(model, artifact)
    assert list(before) == list(model.state_dict())
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())


def test_a_model_without_the_folded_norm_is_refused():
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 2, 1))

    artifact = pack(Functional().eval(), torch.randn(3, 2, 5))
    with pytest.raises(ArtifactError, match="no batch norm 'norm' behind ''"):
        restore_(Plain(), artifact)


def test_half_precision_models_get_rounded_values():
    artifact, x = packed("mlp"), inputs_of("mlp", 3)
    model = restore_(another("mlp").half(), artifact)
    assert model[0].weight.dtype == torch.float16
    np.testing.assert_allclose(outputs(model.float(), x)[0], interpreted(artifact, x)[0], atol=0.02)


def test_a_model_over_packed_sequences_goes_through_the_line_as_weights_alone():
    class Packing(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(4, 6, batch_first=True)

        def forward(self, x):
            packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([5, 3]), batch_first=True)
            return self.lstm(packed)[1][0][0]

    model, x = Packing(), torch.randn(2, 5, 4)
    prepare_(model, plan(model, x, prune=Prune(start=1.0)))
    model(x).sum().backward()
    harden_(model, Target(density=0.3))
    with pytest.warns(SecateurWarning, match="packed sequence"):
        artifact = pack(model, x)
    assert "lstm (LSTM) runs over a packed sequence" in artifact.meta["weights_only"]
    fresh = restore_(Packing(), Artifact.from_bytes(artifact.to_bytes()))
    with torch.no_grad():
        assert torch.equal(fresh(x), model(x))
        assert torch.equal(strip_(model)(x), fresh(x))


@pytest.mark.parametrize("bias", [True, False])
def test_a_norm_behind_a_transposed_convolution_in_groups_becomes_an_identity(bias):
    """Its channels are not the weight's first axis."""

    def build():
        return nn.Sequential(nn.ConvTranspose1d(2, 6, 3, groups=2, bias=bias), nn.BatchNorm1d(6), nn.Tanh()).eval()

    torch.manual_seed(0)
    model, x = build(), torch.randn(2, 2, 5)
    with torch.no_grad():
        model[1].running_mean.normal_()
        model[1].running_var.uniform_(0.5, 2)
    artifact = pack(model, x)
    assert len(artifact.folds) == 1
    assert_close(outputs(restore_(build(), artifact), (x,)), outputs(model, (x,)))


class SharedNorm(nn.Module):
    """One batch norm, or two that share their affine part, in two places, of which the second may not be foldable."""

    def __init__(self, *, bias, second=True, tied=False):
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 4, 3, bias=bias), nn.Conv2d(4, 4, 3, bias=bias) if second else nn.ReLU()
        self.norm = nn.BatchNorm2d(4)
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2)
        nn.init.normal_(self.norm.weight)
        self.again = copy.deepcopy(self.norm) if tied else self.norm
        self.again.weight = self.norm.weight
        self.again.bias = self.norm.bias

    def forward(self, x):
        return self.again(self.second(self.norm(self.first(x))))


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_norms_used_in_several_places_come_back_as_they_were(bias, second, tied):
    torch.manual_seed(0)
    model, example = SharedNorm(bias=bias, second=second, tied=tied), torch.randn(2, 2, 8, 8)
    artifact = pack(model, example)
    assert check(artifact, model, example).relative_difference < 1e-5
    other = SharedNorm(bias=bias, second=second, tied=tied)
    assert check(artifact, restore_(other, artifact), example).relative_difference < 1e-5
    assert not artifact.folds
    assert any("used in several places" in note for note in artifact.meta["notes"])
