"""Laws of quantized feature maps over every kind of network: torch, the restored model, numpy in float32 and numpy in
integers are one function, and what does not run in integers is listed with its reason."""

import warnings
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from map_nets import NETS, settled
from secateur.ir.artifact import Artifact
from secateur.ir.execute import integer_layers, interpret
from secateur.ir.rules import Prune, Quantize
from secateur.ir.target import Target
from secateur.nn.harden import harden_
from secateur.nn.map_sites import maps_of
from secateur.nn.pack import pack
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_
from secateur.nn.restore import restore_

COMPUTES = {
    "conv",
    "conv_transpose",
    "linear",
    "matmul",
    "add",
    "concat",
    "average_pool",
    "adaptive_average_pool",
    "mean",
}
"""Operations of the graph that integers compute."""
STAYS_FLOAT = {
    "vision": {"attention": "softmax", "concat": "float32"},
    "transformer": {"linear": "float32", "attention": "softmax"},
    "twice": {"add": "no quantizer reads its sum"},
}
"""Those of them, and attention, that do not in a network, and words of the reason."""


STORED = Quantize(8)
DYNAMIC = "dynamic"
FOUND_FLOAT = {"add", "concat", "adaptive_average_pool", "average_pool", "mean"}
"""Where scales are found at run time, what sums values of different scales."""
DIFFERENT = {
    "attention": "matmul",  # rows of the values, each with a scale, are summed
    "reader": "linear",
    "transformer": "linear",
    "unet": "conv",
}


@cache
def line(name, maps=STORED):
    """A network pruned and quantized, weights and maps, and the artifact it was packed into, through bytes."""
    net = NETS[name]
    model, x = settled(net), net.example()
    prepare_(model, plan(model, x, prune=Prune(), quantize=Quantize(8), maps=maps))
    model.train()(x)
    harden_(model, Target(density=0.6), example=x)
    return model.eval(), x, Artifact.from_bytes(pack(model, x).to_bytes())


@pytest.mark.parametrize("maps", [STORED, DYNAMIC])
@pytest.mark.parametrize("name", NETS)
def test_torch_restored_float_and_integer_are_one_function(name, maps):
    model, x, artifact = line(name, maps)
    restored = restore_(settled(NETS[name], seed=7), artifact)
    with torch.no_grad():
        expected = model(x).numpy()
        others = [
            restored(x).numpy(),
            *(interpret(artifact, x.numpy(), arithmetic=arithmetic) for arithmetic in ("float", "integer")),
        ]
    for found in others:
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max(), "no code differs on these inputs"


@pytest.mark.parametrize("name", NETS)
def test_what_integers_compute_does_or_is_listed(name):
    artifact = line(name)[2]
    allowed = STAYS_FLOAT.get(name, {})
    rows = [row for row in integer_layers(artifact) if row.op in COMPUTES | {"attention"}]
    assert rows
    for row in rows:
        if row.arithmetic == "float":
            assert row.op in allowed, row
            assert allowed[row.op] in row.reason


@pytest.mark.parametrize("name", NETS)
def test_what_integers_compute_at_found_scales_does_or_is_listed(name):
    rows = [row for row in integer_layers(line(name, DYNAMIC)[2]) if row.op in COMPUTES]
    assert any(row.arithmetic == "integer" for row in rows)
    for row in rows:
        if row.arithmetic == "float" and row.op not in FOUND_FLOAT:
            assert row.op in DIFFERENT.get(name, "") or "float32" in row.reason, row


def test_planting_a_missing_quantizer_is_seen():
    """Without the quantizer of one branch of a sum, that sum is not integer: the law above would fail."""
    net = NETS["resnet"]
    model, x = settled(net), net.example()
    rows = plan(model, x, maps=Quantize(8)).replace("layer1.0.bn2", maps=None)
    prepare_(model, rows)
    for site in maps_of(model):
        site.quantizer.start(4.0)
        site.quantizer.harden(8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        artifact = pack(model, x)
    floats = [row.op for row in integer_layers(artifact) if row.arithmetic == "float" and row.op in COMPUTES]
    assert "add" in floats


class Branch(nn.Module):
    """A sum of a convolution without a norm and what it reads."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 4, 1)

    def forward(self, x):
        x = torch.relu(self.a(x))
        return self.c(torch.relu(self.b(x) + x))


def test_accumulators_and_codes_are_not_added_with_multipliers_of_few_digits():
    """In integers the multiplier of the accumulators would have seven bits, and most codes would be others."""
    torch.manual_seed(0)
    model, x = Branch(), torch.randn(8, 3, 8, 8)
    prepare_(model, plan(model, x, quantize=Quantize(8), maps=Quantize(8)).replace("b", maps=None))
    model.train()(x)
    harden_(model, Target(average_bits=8), example=x)
    artifact = pack(model.eval(), x)
    (row,) = [row for row in integer_layers(artifact) if row.op == "add"]
    assert row.arithmetic == "float"
    assert "too few digits" in row.reason
    found = [interpret(artifact, x.numpy(), arithmetic=arithmetic) for arithmetic in ("float", "integer")]
    assert np.isclose(*found, atol=1e-5).mean() > 0.99
