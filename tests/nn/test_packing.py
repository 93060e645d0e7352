"""nn.packing: what it says of masks is what pack writes once the model is hardened with them."""

import copy

import pytest
import torch
from torch import nn
from zoo import inputs_of, model_of

from prepared import EXAMPLE, Tied, prepared, small_net
from secateur.errors import SecateurWarning
from secateur.ir.describe import describe
from secateur.ir.rules import Prune
from secateur.ir.target import Target
from secateur.nn.harden import harden_
from secateur.nn.pack import pack
from secateur.nn.packing import Packing
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_
from secateur.nn.transform import transforms_of


class ValueBranch(nn.Module):
    """Has no graph."""

    def __init__(self):
        super().__init__()
        self.fc, self.other = nn.Linear(6, 4), nn.Linear(4, 6)
        self.other.weight = nn.Parameter(torch.randn(6, 4))

    def forward(self, x):
        return self.other(self.fc(x)) if x.sum() > 0 else self.fc(x)


CASES = {
    "small": lambda: (small_net(), EXAMPLE),
    "residual": lambda: (copy.deepcopy(model_of("residual")), inputs_of("residual", 2)),
    "sentence": lambda: (copy.deepcopy(model_of("sentence")), inputs_of("sentence", 2)),
    "tied": lambda: (Tied(), torch.tensor([[1, 2], [3, 4]])),
    "no graph": lambda: (ValueBranch(), torch.ones(2, 6)),
}


def made(name):
    """A model of CASES without a tensor that is all zero, and its example."""
    torch.manual_seed(0)
    model, example = CASES[name]()
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter)
    return model, example


@pytest.mark.parametrize("density", [0.05, 0.5])
@pytest.mark.parametrize("values", ["float32", "float16"])
@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore::secateur.errors.SecateurWarning")
def test_it_is_the_file_that_pack_writes(name, values, density):
    model, example = made(name)
    prepare_(model, plan(model, example, prune=Prune()))
    soft, hard = Packing(model, example, values), copy.deepcopy(model)
    harden_(hard, Target(density=density))
    masks = {site.name: site.transform.prune.mask for site in transforms_of(hard)}
    written = pack(hard, example, values=values).to_bytes()
    assert soft.artifact(masks).to_bytes() == written
    assert Packing(hard, example, values).artifact(masks).to_bytes() == written
    assert not any(site.transform.is_hard for site in transforms_of(model))


def test_a_model_without_a_graph_is_measured_without_a_warning_a_time(recwarn):
    torch.manual_seed(0)
    model = ValueBranch()
    prepare_(model, plan(model, torch.ones(2, 6), prune=Prune()))
    packing = Packing(model, torch.ones(2, 6), "float32")
    none = {site.name: torch.zeros(site.original.shape, dtype=torch.bool) for site in transforms_of(model)}
    assert packing.artifact(none).graph is None
    assert not [w for w in recwarn if issubclass(w.category, SecateurWarning)]
    assert packing.excess(none, Target(packed_bytes=10**6, macs=1)) == ""


def test_what_exceeds_a_limit_is_said_and_dead_units_do_not_count():
    model = prepared()
    all_of_it = {site.name: torch.ones(site.original.shape, dtype=torch.bool) for site in transforms_of(model)}
    packing = Packing(model, EXAMPLE, "float32")
    size = len(packing.artifact(all_of_it).to_bytes())
    assert packing.excess(all_of_it, Target(packed_bytes=size)) == ""
    assert packing.excess(all_of_it, Target(packed_bytes=size - 1)) == (
        f"{size:,} packed bytes, the limit is {size - 1:,}"
    )
    macs = sum(site.transform.row.macs for site in transforms_of(model))
    assert packing.excess(all_of_it, Target(macs=macs)) == ""
    assert packing.excess(all_of_it, Target(macs=macs - 1)) == f"{macs:,} macs, the limit is {macs - 1:,}"
    all_of_it["4.weight"][:8] = False  # whose outputs nobody has to read any more
    assert packing.excess(all_of_it, Target(macs=macs - 8 * 36 - 8 * 3)) == ""


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore::secateur.errors.SecateurWarning")
def test_the_parts_of_the_file_are_those_of_what_is_transformed_and_the_rest(name):
    model, example = made(name)
    prepare_(model, plan(model, example, prune=Prune()))
    harden_(model, Target(density=0.5))
    masks = {site.name: site.transform.prune.mask for site in transforms_of(model)}
    whole, weights = Packing(model, example, "float16").parts(masks)
    artifact = pack(model, example, values="float16")
    assert whole == len(artifact.to_bytes())
    rows = describe(artifact)
    names = {site.name for site in transforms_of(model)} | ({"embed.weight"} if name == "tied" else set())
    assert weights == sum(row.file.total for row in rows if row.name in names)
    assert 0 < weights < whole
