"""train.budget: limits of packed_bytes that are refused or warned of before training, beside files that hold them."""

import contextlib

import pytest
import torch
from torch import nn

from prepared import EXAMPLE, prepared, small_net
from secateur.errors import SecateurWarning
from secateur.ir.rules import Prune, Quantize
from secateur.ir.target import Target
from secateur.nn.harden import harden_, harden_under
from secateur.nn.pack import pack
from secateur.nn.packing import Packing
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_
from secateur.nn.transform import transforms_of
from secateur.nn.widths import Widths
from secateur.train.budget import Budget


def normed():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(216, 3)
    ).eval()


def kept_first():
    """Its first layer is no tensor of the plan's rules: nothing reads it once the second is empty."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 30), nn.Tanh(), nn.Linear(30, 3))


@pytest.mark.parametrize(("build", "kept"), [(small_net, ""), (normed, ""), (kept_first, "1.weight")])
@pytest.mark.parametrize("values", ["float32", "int8"])
def test_no_limit_is_refused_that_a_file_holds(build, kept, values):
    """A byte above the smallest file there is of the model: without any pruned weight, in the narrowest widths."""

    def made():
        rows = plan(build(), EXAMPLE, prune=Prune(), quantize=Quantize((2, 4)))
        return prepare_(build(), rows.replace(kept, prune=None, quantize=None) if kept else rows)

    gone = made()
    none = {site.name: torch.zeros_like(site.original, dtype=torch.bool) for site in transforms_of(gone)}
    pruned = {site.name: none[site.name] for site in transforms_of(gone) if site.transform.prunes}
    widths = Widths(transforms_of(gone))
    widths.begin({name: ~mask for name, mask in pruned.items()})
    harden_under(transforms_of(gone), list(pruned.values()), 1.0, widths)
    target = Target(packed_bytes=len(pack(gone, EXAMPLE, values=values).to_bytes()) + 1, values=values)
    with pytest.warns(SecateurWarning, match="by an estimate, as no example was given"):
        Budget(made(), target, steps=10)
    before_units_die = pytest.warns(SecateurWarning, match="as the model is now") if kept else contextlib.nullcontext()
    with before_units_die:
        Budget(made(), target, steps=10, example=EXAMPLE)
    model = made()
    harden_(model, target, example=EXAMPLE)
    assert len(pack(model, EXAMPLE, values=values).to_bytes()) <= target.packed_bytes


def test_a_file_decides_whether_there_is_room_where_there_is_an_example():
    model = prepared()
    beside = Packing(model, EXAMPLE, "int8").parts({site.name: site.original != 0 for site in transforms_of(model)})
    beside = beside[0] - beside[1]
    Budget(model, Target(packed_bytes=beside + 1, values="int8"), steps=10, example=EXAMPLE)
    with pytest.warns(SecateurWarning, match=f"as the model is now, its file takes {beside} bytes beside"):
        Budget(model, Target(packed_bytes=beside, values="int8"), steps=10, example=EXAMPLE)
