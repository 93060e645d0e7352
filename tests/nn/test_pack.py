"""nn.pack, nn.restore, nn.check: from torch to a file and back, on networks with every structure that matters."""

import copy
from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn
from zoo import inputs_of, model_of, packed

from prepared import EXAMPLE, prepared, small_net
from secateur.errors import ArtifactError, SecateurWarning
from secateur.ir.artifact import Artifact
from secateur.ir.execute import interpret
from secateur.ir.naming import is_made
from secateur.ir.rules import Prune
from secateur.ir.target import Target
from secateur.nn.check import check
from secateur.nn.harden import harden_
from secateur.nn.pack import pack
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_
from secateur.nn.restore import restore_
from secateur.nn.strip import strip_


class Residual(nn.Module):
    """Batch norm with and without a bias before it, a residual sum, a concat, average pooling."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(6, eps=1e-3)
        self.side = nn.Conv2d(6, 4, 1, bias=False)
        self.fc = nn.Linear(10, 3, bias=False)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(x)) + x)
        y = torch.cat([y, torch.relu(self.side(y))], 1)
        return self.fc(y.mean((2, 3)))


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.1, norm_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, ids):
        return self.head(self.layer(self.embed(ids)).mean(1))


def settle_norms(model):
    generator = torch.Generator().manual_seed(5)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.weight.data, module.bias.data):
                tensor.copy_(torch.randn(tensor.shape, generator=generator))
            module.running_var.copy_(torch.rand(module.running_var.shape, generator=generator) + 0.3)
    return model


def network(name):
    torch.manual_seed(0)
    ids = torch.randint(0, 11, (3, 5))
    made = {"small": (small_net, EXAMPLE), "residual": (Residual, torch.randn(2, 1, 8, 8)), "encoder": (Encoder, ids)}
    build, example = made[name]
    return settle_norms(build()).eval(), example


NETWORKS = ("small", "residual", "encoder")


def pruned(name, density):
    model, example = network(name)
    prepare_(model, plan(model, example, prune=Prune()))
    harden_(model, Target(density=density))
    return model, example


@pytest.mark.parametrize(("density", "values"), [(0.05, "float32"), (0.4, "float16"), (1.0, "float32")])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_line_from_torch_to_a_file_and_back(name, density, values):
    model, example = pruned(name, density)
    artifact = Artifact.from_bytes(pack(model, example, values=values).to_bytes())
    tolerance = 1e-5 if values == "float32" else 2e-2
    assert check(artifact, model, example).relative_difference < tolerance
    again, _ = network(name)
    for parameter in again.parameters():
        nn.init.normal_(parameter)
    restore_(again, artifact)
    assert check(artifact, again, example).relative_difference < 1e-5


@pytest.mark.parametrize("name", NETWORKS)
def test_sorted_units_compute_the_same_in_fewer_bytes(name):
    model, example = pruned(name, 0.4)
    plain = pack(model, example, values="float16")
    ordered = pack(model, example, values="float16", sort=True)
    rescaled = pack(model, example, values="float16", sort=True, rescale=True)
    assert check(rescaled, model, example).relative_difference < 2e-2
    assert check(rescaled, restore_(network(name)[0], rescaled), example).relative_difference < 1e-5
    artifact = Artifact.from_bytes(ordered.to_bytes())
    assert check(artifact, model, example).relative_difference < 2e-2
    again, _ = network(name)
    restore_(again, artifact)
    assert check(artifact, again, example).relative_difference < 1e-5
    assert len(ordered.to_bytes()) <= len(plain.to_bytes())
    kept = {key: sorted(array.flatten().tolist()) for key, array in plain.constants.items()}
    assert kept == {key: sorted(array.flatten().tolist()) for key, array in ordered.constants.items()}


def test_biases_without_activation_are_pushed_on():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3))
    artifact = pack(model, torch.zeros(1, 1, 8, 8))
    assert not artifact.tensors["0.bias"].nonzeros
    assert artifact.tensors["3.bias"].nonzeros == 3
    assert check(artifact, model, torch.randn(5, 1, 8, 8)).relative_difference < 1e-5


@pytest.mark.parametrize("name", NETWORKS)
def test_packing_leaves_the_model_and_the_random_state_alone(name):
    model, example = pruned(name, 0.3)
    model.train()
    before = copy.deepcopy(model.state_dict())
    random = torch.get_rng_state()
    pack(model, example)
    assert model.training
    assert torch.equal(random, torch.get_rng_state())
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_stored_values_are_the_hard_weights_bit_for_bit():
    model, example = pruned("small", 0.3)
    artifact = pack(model, example)
    plain = strip_(model)
    restored = restore_(network("small")[0], artifact)
    for name in ("0.weight", "4.weight", "6.weight"):
        alive = restored.get_parameter(name) != 0
        assert torch.equal(restored.get_parameter(name)[alive], plain.get_parameter(name)[alive])


def test_dead_units_are_removed_and_counted():
    model, example = pruned("small", 1.0)
    transform = model[4].parametrizations.weight[0]
    transform.prune.mask[:5] = False
    artifact = pack(model, example)
    assert artifact.meta["dead_units"] == {"4": [16, 11]}
    assert artifact.tensors["4.weight"].shape == (11, 36)
    assert artifact.tensors["6.weight"].shape == (3, 11)
    assert artifact.meta["parameters"] == [36 + 4 + 576 + 16 + 48 + 3, 36 + 4 + 11 * 36 + 11 + 33 + 3]
    assert check(artifact, model, example).relative_difference < 1e-5


def test_norms_are_folded():
    model, example = network("residual")
    artifact = pack(model, example)
    assert [fold.norm for fold in artifact.folds] == ["bn1", "bn2"]
    assert not any(node.op == "batch_norm" for node in artifact.graph.nodes)


def test_any_batch_size_runs():
    model, example = pruned("residual", 0.5)
    artifact = pack(model, example[:1])
    for batch in (1, 3):
        x = torch.randn(batch, 1, 8, 8)
        with torch.no_grad():
            np.testing.assert_allclose(interpret(artifact, x.numpy()), model(x), rtol=1e-4, atol=1e-5)


class Sorting(nn.Module):
    """Uses an operation outside the closed list."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.register_buffer("steps", torch.tensor(3))

    def forward(self, x):
        return torch.sort(self.fc(x)).values


def test_a_model_without_a_graph_is_packed_as_weights_loudly():
    model = Sorting()
    with pytest.warns(SecateurWarning, match="weights alone"):
        artifact = pack(model, torch.randn(2, 4))
    assert artifact.graph is None
    assert "sort" in artifact.meta["weights_only"]
    with pytest.raises(ArtifactError, match="restore_"):
        interpret(artifact, np.zeros((2, 4), np.float32))
    again = restore_(Sorting(), Artifact.from_bytes(artifact.to_bytes()))
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), model.state_dict().values(), strict=True))


def test_parameters_no_output_needs_are_left_out_and_named():
    class Spare(nn.Module):
        def __init__(self):
            super().__init__()
            self.used = nn.Linear(4, 2)
            self.spare = nn.Linear(9, 9)

        def forward(self, x):
            return self.used(x)

    model = Spare()
    artifact = pack(model, torch.randn(2, 4))
    assert artifact.meta["unread"] == ["spare.weight", "spare.bias"]
    other = Spare()
    kept = other.spare.weight.clone()
    restore_(other, artifact)
    assert torch.equal(other.spare.weight, kept)
    assert torch.equal(other.used.weight, model.used.weight)


def test_bad_models_are_refused():
    with pytest.raises(ArtifactError, match="call harden_"):
        pack(prepared(), EXAMPLE)
    broken = small_net()
    broken[4].bias.data[0] = float("inf")
    with pytest.raises(ArtifactError, match=r"4\.bias holds NaN or infinity"):
        pack(broken, EXAMPLE)
    with pytest.raises(ArtifactError, match="float16"):
        pack(small_net(), EXAMPLE, values="float8")
    with pytest.raises(ArtifactError, match="add sort=True"):
        pack(small_net(), EXAMPLE, rescale=True)


def test_values_beyond_float16_are_refused_with_the_way_out():
    model = small_net()
    model[4].bias.data[0] = 1e6
    with pytest.raises(ArtifactError, match=r"4\.bias: values up to .*store as float32"):
        pack(model, EXAMPLE, values="float16")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: nn.Sequential(*small_net()[:4], nn.Linear(36, 17), nn.ReLU(), nn.Linear(17, 3)), "is \\(17"),
        (lambda: nn.Sequential(*small_net(), nn.Linear(3, 3)), "has no '7.weight'"),
        (prepared, "strip_"),
    ],
)
def test_an_artifact_that_does_not_fit_changes_nothing(other, message):
    artifact, model = pack(small_net(), EXAMPLE), other()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ArtifactError, match=message):
        restore_(model, artifact)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_check_sees_a_planted_fault():
    model, example = pruned("small", 0.5)
    artifact = pack(model, example)
    with torch.no_grad():
        model[6].bias += 0.1
    assert check(artifact, model, example).largest_difference == pytest.approx(0.1, rel=1e-3)


def test_numbers_and_masks_of_the_code_are_not_rounded():
    """The largest float32 stands for infinity in masks: float16 could not hold it."""
    inputs = inputs_of("masked attention", 3)
    artifact = pack(model_of("masked attention"), inputs, values="float16")
    made = {name: tensor for name, tensor in artifact.tensors.items() if is_made(name)}
    assert {tensor.dtype for name, tensor in artifact.tensors.items() if name not in made} == {"float16"}
    assert "float16" not in {tensor.dtype for tensor in made.values()}
    assert any(np.abs(tensor.to_dense()).max() > 1e38 for tensor in made.values())
    assert 0 < artifact.meta["rounding"] < 2**-11
    assert check(artifact, model_of("masked attention"), inputs).relative_difference < 5e-3


def test_results_have_the_usual_names():
    artifact = packed("residual")
    counts = Counter()
    for node in artifact.graph.nodes:
        counts[node.op] += 1
        assert node.output == (node.op if counts[node.op] == 1 else f"{node.op}_{counts[node.op]}")


class Masking(nn.Module):
    """An infinite buffer is a mask, not a failed training."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mask", torch.tensor([0.0, float("-inf")]))
        self.norm = nn.BatchNorm1d(2)

    def forward(self, x):
        return (self.norm(x) + self.mask).softmax(1)


def test_infinite_masks_pass_and_nan_statistics_are_refused():
    model, x = Masking().eval(), torch.randn(3, 2)
    assert check(pack(model, x), model, x).largest_difference < 1e-6
    model.norm.running_var[1] = float("inf")
    with pytest.raises(ArtifactError, match=r"norm\.running_var holds NaN or infinity"):
        pack(model, x)


class Everything(nn.Module):
    """Tied weights, whole numbers of odd widths, half precision; and no graph."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(5, 4)
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.words.weight
        self.register_buffer("steps", torch.tensor([1, 2], dtype=torch.int32))
        self.register_buffer("flags", torch.tensor([True, False]))
        self.register_buffer("small", torch.tensor([0.5, 1.5], dtype=torch.bfloat16))

    def forward(self, ids):
        return torch.sort(self.head(self.words(ids))).values


def test_weights_alone_hold_every_tensor_once():
    model = Everything()
    with pytest.warns(SecateurWarning, match=r"aten.sort.default in Everything, test_pack.py:\d+") as caught:
        artifact = pack(model, torch.tensor([[1, 2]]))
    assert caught[0].filename == __file__
    assert "pack()" not in artifact.meta["weights_only"]
    assert set(artifact.tensors) == {"words.weight", "steps", "flags", "small"}
    again = restore_(Everything(), Artifact.from_bytes(artifact.to_bytes()))
    assert again.head.weight is again.words.weight
    for key, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], tensor)
        assert again.state_dict()[key].dtype == tensor.dtype


def test_a_layer_that_is_the_whole_model_has_a_name_in_notes():
    model = nn.Linear(4, 3)
    model.weight.data[1] = 0
    assert pack(model, torch.zeros(1, 4)).meta["notes"] == ["1 dead units of the model stay: a result of the network"]


class Masked(nn.Module):
    """A buffer of infinities that the graph reads as it is."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("mask", torch.full((4, 4), float("-inf")).triu(1))

    def forward(self, x):
        return torch.softmax(self.linear(x).unsqueeze(1) + self.mask, -1)


def test_infinite_masks_are_stored_as_float16_without_a_warning():
    model, example = Masked(), torch.randn(3, 4)
    artifact = pack(model, example, values="float16")
    assert artifact.tensors["mask"].dtype == "float16"
    assert check(artifact, model, example).relative_difference < 1e-2


class Named(nn.Module):
    """A layer under a name of one's choice."""

    def __init__(self, name):
        super().__init__()
        torch.manual_seed(0)
        self.name = name
        self.add_module(name, nn.Linear(4, 6))
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        return self.head(self.get_submodule(self.name)(x).relu())


@pytest.mark.parametrize("name", ["größe", "a b", "1", "self", "constant", "a\\b", "a/b", "a'b", "y" * 1000])
def test_unusual_names_are_packed_as_a_graph(name):
    model, x = Named(name), torch.randn(3, 4)
    artifact = Artifact.from_bytes(pack(model, x).to_bytes())
    assert artifact.graph is not None
    assert check(artifact, restore_(Named(name), artifact), x).relative_difference < 1e-5


@pytest.mark.parametrize("name", ["a\0b", "a\nb", 'a"b', "class"])
def test_names_that_torch_cannot_write_into_code_are_packed_as_weights_and_why_is_told(name):
    model, x = Named(name), torch.randn(3, 4)
    with pytest.warns(SecateurWarning, match="one of these names breaks it .*; rename that module"):
        artifact = Artifact.from_bytes(pack(model, x).to_bytes())
    assert artifact.graph is None
    torch.testing.assert_close(restore_(Named(name), artifact)(x), model(x))


@pytest.mark.parametrize("name", ["constant:w", "x" * 70_000, "a\ud800b"])
def test_names_that_no_file_can_hold_are_refused(name):
    with pytest.raises(ArtifactError, match=r"the tensor .*: rename its module"):
        pack(Named(name), torch.randn(3, 4))
