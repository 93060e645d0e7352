"""check() and check_file() measure what they say, in all dtypes, on several outputs and infinities; no side effects."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from zoo import inputs_of, model_of, packed

from map_nets import NETS, settled
from secateur.errors import ArtifactError, DataError, SecateurWarning
from secateur.ir.formats import from_dense
from secateur.ir.rules import Quantize
from secateur.nn.check import TOLERANCE, check, check_file, tolerance_of
from secateur.nn.map_sites import maps_of
from secateur.nn.pack import pack
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_
from secateur.nn.restore import restore_


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        y = self.fc(x)
        return {"y": y, "positive": y > 0, "mean": y.mean()}


def test_equal_models_agree():
    for name in ("residual", "sentence"):
        found = check(packed(name), model_of(name), inputs_of(name, 4))
        assert found.examples == 4
        assert found.largest_difference < 1e-4
        assert found.relative_difference < 1e-5
        assert found.agreement == 1.0


def test_differences_are_measured():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(2, 2)), torch.tensor([[1.0, 2.0], [0.5, -1.0]])
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(2))
        model[0].bias.zero_()
        artifact = pack(model, x)
        model[0].bias.copy_(torch.tensor([0.0, -1.5]))
    found = check(artifact, model, x)
    assert found.largest_difference == 1.5
    assert found.relative_difference == 1.5 / 2.5
    assert found.agreement == 0.5


def test_several_outputs_in_a_dict_and_double_training_models():
    model, x = Two().double().train(), torch.randn(5, 4, dtype=torch.float64)
    found = check(pack(model, x), model, x)
    assert found.largest_difference < 1e-6
    assert found.agreement == 1.0
    assert model.training
    assert model.fc.weight.dtype == torch.float64


def test_infinities_and_nan():
    class Quotient(nn.Module):
        def __init__(self, shift):
            super().__init__()
            self.shift = shift

        def forward(self, x):
            return x / (x - self.shift)

    x = torch.tensor([[0.0, 1.0]])
    artifact = pack(Quotient(0.0), x)
    assert check(artifact, Quotient(0.0), x).largest_difference == 0.0
    assert check(artifact, Quotient(1.0), x).largest_difference == np.inf


class Sorted(nn.Module):
    """No operation of the closed list sorts."""

    def forward(self, x):
        return x.sort(1).values


def test_misfits_are_refused():
    artifact, x = packed("mlp"), torch.randn(2, 6)
    with pytest.raises(ArtifactError, match=r"the artifact gives \(2, 3\), the model \(2, 6\)"):
        check(artifact, nn.Identity(), x)
    with pytest.raises(DataError, match="expected"):
        check(artifact, model_of("mlp"), torch.randn(2, 5))
    with pytest.warns(SecateurWarning):
        weights = pack(Sorted(), x)
    with pytest.raises(ArtifactError, match="weights only"):
        check(weights, Sorted(), x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_a_models_own_rounding_is_no_difference_of_its_file_and_a_fault_is(dtype):
    """A folded norm needs more digits than a narrow model has; a weight that is wrong by 1 % is found all the same."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(128, 5))
    for _ in range(3):
        model(torch.randn(8, 3, 6, 6) * 2 + 1)
    model, x = model.to(dtype).eval(), torch.randn(4, 3, 6, 6).to(dtype)
    artifact = pack(model, x)
    assert check_file(artifact, model, x).relative_difference < TOLERANCE / 10
    narrow = check(artifact, restore_(copy.deepcopy(model), artifact), x).relative_difference
    assert (narrow > TOLERANCE) is (dtype in (torch.bfloat16, torch.float16))
    assert model[0].weight.dtype == dtype
    weight = artifact.tensors["4.weight"].to_dense().copy()
    weight[0] *= 1.01
    wrong = dataclasses.replace(artifact, tensors={**artifact.tensors, "4.weight": from_dense(weight)})
    assert check(wrong, restore_(copy.deepcopy(model).float(), artifact), x).relative_difference > TOLERANCE


def test_quantized_maps_may_differ_by_a_step_and_not_by_more():
    net = NETS["vgg"]
    model, x = settled(net), net.example()
    prepare_(model, plan(model, x, maps=Quantize(8)))
    model.train()(x)
    for site in maps_of(model):
        site.quantizer.start()
        site.quantizer.harden(8)
    artifact = pack(model.eval(), x)
    found = check_file(artifact, settled(net), x)
    assert found.tolerance == tolerance_of(artifact) == 1 / 127, "the input is signed"
    assert found.relative_difference <= found.tolerance
    name = next(name for name in artifact.tensors if name.endswith("features:7.scale"))
    wrong = from_dense(np.asarray(4 * artifact.constants[name], np.float32), "float16")
    damaged = dataclasses.replace(artifact, tensors={**artifact.tensors, name: wrong})
    assert check(damaged, model, x).relative_difference > found.tolerance
