"""nn.dynamic_map: maps whose scales are found at run time, through the line."""

import copy

import pytest
import torch
from torch import nn

from mapped import batches, mapped
from prepared import EXAMPLE, small_net
from secateur.errors import DataError
from secateur.ir.execute import interpret
from secateur.ir.rules import Quantize
from secateur.ir.target import Target
from secateur.nn.dynamic_map import DynamicMap
from secateur.nn.groups import param_groups
from secateur.nn.harden import harden_
from secateur.nn.map_sites import maps_of
from secateur.nn.pack import pack
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_
from secateur.train.budget import Budget
from secateur.train.calibrate import calibrate_

EIGHT = Quantize(8)


def test_what_one_scale_is_for_follows_from_who_reads():
    rows = plan(small_net(), EXAMPLE, maps="dynamic").quantized_maps
    assert {row.kind: row.per for row in rows if row.kind in ("input", "ReLU")}["input"] == "example"
    assert rows[-1].per == "row", "a linear layer reads it"
    heads = nn.Sequential(nn.Conv1d(4, 6, 1), nn.Tanh(), nn.Flatten(), nn.Linear(48, 3))
    (_, joined) = plan(heads, torch.randn(5, 4, 8), maps="dynamic").quantized_maps
    assert joined.per == "example", "the rows of what the layer reads are made of several of the map's"


def test_one_number_an_example_stays_float():
    class Product(nn.Module):
        def forward(self, x):
            return (x @ x.transpose(0, 1)).sum(1).relu() + x.sum(1)

    rows = plan(Product(), torch.randn(3, 4), maps="dynamic").maps
    assert any("one number an example" in row.reason for row in rows)


def test_off_it_changes_nothing_and_on_it_needs_no_data():
    model = mapped("dynamic").eval()
    plain = small_net().eval()
    x = torch.randn(4, *EXAMPLE.shape[1:])
    assert torch.equal(model(x), plain(x))
    hardened = harden_(model)
    assert all(isinstance(site.quantizer, DynamicMap) and site.quantizer.is_hard for site in maps_of(model))
    assert {row.bits for row in hardened.maps} == {8}
    assert not torch.equal(model(x), plain(x))


def test_a_negative_value_of_an_input_that_never_has_one_is_an_error():
    rows = plan(small_net(), EXAMPLE, maps="dynamic").replace("input", signed=False)
    model = prepare_(small_net(), rows).eval()
    harden_(model)
    model(EXAMPLE.abs())
    with pytest.raises(DataError, match=r"'input' is planned as never negative, and -"):
        model(-EXAMPLE.abs())


def test_a_scale_is_an_examples_own():
    model = mapped("dynamic")
    harden_(model)
    x = torch.randn(2, *EXAMPLE.shape[1:])
    model.eval()
    beside = torch.stack([x[0], 1000 * x[1]])
    assert torch.equal(model(beside)[0], model(x)[0])


def test_training_with_a_budget_learns_no_range_and_loads_again():
    model = mapped("dynamic", quantize=Quantize({4, 8}))
    optimizer = torch.optim.Adam(param_groups(model), lr=1e-3)
    target = Target(average_bits=8, largest_map_bytes=1000)
    budget = Budget(model, target, steps=6, quantize_at=0.0)
    for batch in batches(6):
        loss = model(batch).square().mean() + budget()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        budget.step()
    assert all(site.quantizer.is_on for site in maps_of(model))
    assert all(site.quantizer.log_range == 0 for site in maps_of(model)), "nothing moved it"
    twin = mapped("dynamic", quantize=Quantize({4, 8}))
    twin.load_state_dict(model.state_dict())
    x = batches(1)[0]
    assert torch.equal(twin.eval()(x), model.eval()(x))
    assert torch.equal(copy.deepcopy(model)(x), model(x))
    harden_(model, target)
    assert model.secateur_maps["input" if "input" in model.secateur_maps else next(iter(model.secateur_maps))].is_hard


def test_calibrating_sets_ranges_of_the_other_maps_and_corrects_biases():
    model = small_net()
    rows = plan(model, EXAMPLE, quantize=EIGHT, maps=EIGHT)
    first = rows.quantized_maps[0].name
    prepare_(model, rows.replace(first, maps="dynamic"))
    found = calibrate_(model, batches(2))
    assert first not in [row.name for row in found.maps]
    assert len(found.maps) == len(maps_of(model)) - 1
    assert found.corrected
    harden_(model)


@pytest.mark.parametrize("values", ["float32", "int8"])
def test_the_file_computes_what_torch_does(values):
    model = mapped("dynamic", quantize=Quantize(4))
    harden_(model)
    x = batches(1)[0]
    artifact = pack(model.eval(), EXAMPLE, values=values)
    with torch.no_grad():
        expected = model(x).numpy()
    allowed = 1e-5 if values == "float32" else 0.05
    for arithmetic in ("integer", "float"):
        assert (
            abs(interpret(artifact, x.numpy(), arithmetic=arithmetic) - expected).max() <= allowed * abs(expected).max()
        )
