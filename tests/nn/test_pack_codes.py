"""nn.pack, restore, check and interpret of quantized models: what is stored are the codes, on the grid they had."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_pack import NETWORKS, Sorting, network

from prepared import EXAMPLE, Tied
from secateur.errors import ArtifactError, SecateurWarning
from secateur.ir.artifact import Artifact
from secateur.ir.execute import interpret
from secateur.ir.formats import Quantized, on_grid, same_bits
from secateur.ir.grid import Grid
from secateur.ir.rules import Prune, Quantize
from secateur.ir.target import Target
from secateur.nn.check import check
from secateur.nn.harden import harden_
from secateur.nn.pack import pack
from secateur.nn.packing import Packing
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_
from secateur.nn.restore import restore_
from secateur.nn.strip import strip_
from secateur.nn.transform import transforms_of


def quantized(model, example, *, bits=4, by_channel=False, density=0.4):
    """Pruned, quantized and hardened."""
    rule = Quantize(bits, "channel" if by_channel else "tensor")
    prepare_(model, plan(model, example, prune=Prune(), quantize=rule))
    harden_(model, Target(density=density))
    return model


def codes_of(artifact):
    return {name: tensor for name, tensor in artifact.tensors.items() if isinstance(tensor, Quantized)}


@pytest.mark.parametrize("by_channel", [False, True])
@pytest.mark.parametrize(("bits", "values"), [(4, "float32"), (3, "int8"), (2, "float16"), (8, "int8")])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_line_from_codes_to_a_file_and_back(name, bits, values, by_channel):
    model, example = network(name)
    quantized(model, example, bits=bits, by_channel=by_channel)
    artifact = Artifact.from_bytes(pack(model, example, values=values).to_bytes())
    weights = {site.name for site in transforms_of(model)}
    assert {artifact.tensors[key].dtype for key in weights} == {f"int{bits}"}
    assert {tensor.dtype for key, tensor in artifact.tensors.items() if key not in weights} <= {values, "float32"}
    tolerance = {"float32": 1e-5, "float16": 1e-2, "int8": 0.1}[values]
    assert check(artifact, model, example).relative_difference < tolerance
    again, _ = network(name)
    restore_(again, artifact)
    assert check(artifact, again, example).relative_difference < 1e-5


def test_stored_codes_are_those_of_the_hard_weights():
    model = quantized(*network("small"), bits=3, density=1.0)
    artifact, plain = pack(model, EXAMPLE), strip_(copy.deepcopy(model))
    for site in transforms_of(model):
        hard = on_grid(plain.get_parameter(site.name).detach().numpy(), site.transform.grid())
        stored = artifact.tensors[site.name]
        assert stored == hard
        assert same_bits(artifact.constants[site.name], stored.to_dense())


def test_a_folded_norm_makes_a_scale_a_channel():
    model, example = network("residual")
    artifact = pack(quantized(model, example), example)
    assert artifact.folds
    for fold in artifact.folds:
        tensor = artifact.tensors[f"{fold.into}.weight"]
        assert isinstance(tensor, Quantized)
        assert tensor.grid.by_channel
        assert tensor.grid.scale.dtype == np.float32
    assert not artifact.tensors["fc.weight"].grid.by_channel


@pytest.mark.parametrize("by_channel", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_sorted_units_take_their_codes_and_scales_along(name, by_channel):
    model, example = network(name)
    quantized(model, example, by_channel=by_channel)
    plain = pack(model, example, values="int8")
    ordered = pack(model, example, values="int8", sort=True, rescale=True)
    assert check(ordered, model, example).relative_difference < 0.1
    assert check(ordered, restore_(network(name)[0], ordered), example).relative_difference < 1e-5
    assert codes_of(plain).keys() == codes_of(ordered).keys()
    for key, tensor in codes_of(plain).items():
        other = ordered.tensors[key]
        assert isinstance(other, Quantized)
        assert sorted(tensor.codes.flatten().tolist()) == sorted(other.codes.flatten().tolist())
        assert sorted(tensor.grid.scale.flatten().tolist()) == sorted(other.grid.scale.flatten().tolist())
    assert len(pack(model, example, values="int8", sort=True).to_bytes()) <= len(plain.to_bytes())
    notes = [note for note in ordered.meta.get("notes", []) if "keep their scale" in note]
    assert bool(notes) == (name != "residual"), "its units are read by what rescaling does not pass"


def test_without_a_quantizing_stage_there_is_no_grid():
    model, example = network("small")
    prepare_(model, plan(model, example, prune=Prune()))
    harden_(model, Target(density=0.4))
    assert all(site.transform.grid() is None for site in transforms_of(model))
    assert not codes_of(pack(model, example))


def test_bytes_for_everything():
    model, example = network("residual")
    artifact = pack(model, example, values="int8")
    assert artifact.meta["values"] == "int8"
    assert 0 < artifact.meta["rounding"] < 0.6 / 127
    assert {tensor.dtype for tensor in artifact.tensors.values()} == {"int8"}
    assert check(artifact, model, example).relative_difference < 0.05
    size = {values: len(pack(model, example, values=values).to_bytes()) for values in ("float16", "int8")}
    assert size["int8"] < 0.75 * size["float16"]


def test_weights_that_are_not_on_their_grid_are_refused():
    model = quantized(*network("small"))
    transform = transforms_of(model)[1].transform
    grid = transform.grid()
    transform.grid = lambda: Grid(grid.bits, grid.scale * np.float16(1.01))
    with pytest.raises(ArtifactError, match=r"4\.weight: .* are not on a grid of 4 bits"):
        pack(model, EXAMPLE)


def test_a_planted_wrong_code_is_found():
    model = quantized(*network("small"))
    artifact = pack(model, EXAMPLE)
    assert check(artifact, model, EXAMPLE).largest_difference < 1e-5
    tensor = artifact.tensors["6.weight"]
    codes = tensor.codes.copy()
    place = tuple(np.argwhere(codes)[0])
    codes[place] -= np.sign(codes[place])
    wrong = replace(artifact, tensors={**artifact.tensors, "6.weight": Quantized(codes, tensor.grid)})
    found = check(wrong, model, torch.randn(64, 1, 8, 8))
    assert found.largest_difference > 0.01 * float(tensor.grid.scale)
    assert not np.array_equal(interpret(wrong, EXAMPLE.numpy()), interpret(artifact, EXAMPLE.numpy()))


def test_tied_weights_are_stored_as_codes_once():
    model, ids = Tied(), torch.tensor([[1, 2], [3, 4]])
    quantized(model, ids, density=0.9)
    artifact = pack(model, ids)
    assert list(codes_of(artifact)) == ["embed.weight"]
    assert check(artifact, model, ids).relative_difference < 1e-5


def test_weights_alone_are_codes_too():
    model, x = Sorting(), torch.randn(2, 4)
    quantized(model, x, density=0.9)
    with pytest.warns(SecateurWarning, match="weights alone"):
        artifact = pack(model, x, values="int8")
    assert artifact.tensors["fc.weight"].dtype == "int4"
    assert artifact.tensors["fc.bias"].dtype == "int8"
    again = restore_(Sorting(), Artifact.from_bytes(artifact.to_bytes()))
    assert torch.equal(again.fc.weight, strip_(model).fc.weight)


def test_packing_under_other_masks_keeps_the_grid():
    model = quantized(*network("small"))
    packing = Packing(model, EXAMPLE, "int8")
    masks = {site.name: site.transform.prune.mask for site in transforms_of(model)}
    assert packing.artifact(masks).to_bytes() == pack(model, EXAMPLE, values="int8").to_bytes()
