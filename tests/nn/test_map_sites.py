"""nn.map_sites: quantizers of feature maps are found at the root, in order, and named as in the plan."""

import torch
from torch import nn

from secateur.ir.map_names import MAPS, key_of
from secateur.ir.plan_rows import MapPlan
from secateur.ir.rules import Quantize
from secateur.nn.map_quantize import FrozenMap, MapQuantize
from secateur.nn.map_sites import maps_of


def quantizer(name):
    made = MapQuantize(Quantize(4), signed=True, elements=3)
    made.row = MapPlan(name, "ReLU", (3,), quantize=Quantize(4))
    return made


def test_maps_are_found_in_their_order_under_their_names():
    model = nn.Sequential(nn.Linear(3, 3))
    assert maps_of(model) == ()
    names = ["layer1.0.relu", "add", "layer1.0.add_1"]
    model.add_module(MAPS, nn.ModuleDict({key_of(name): quantizer(name) for name in names}))
    assert [site.name for site in maps_of(model)] == names
    assert all(site.quantizer is model.secateur_maps[key_of(site.name)] for site in maps_of(model))
    assert all(site.row.name == site.name for site in maps_of(model))


def test_frozen_maps_are_not_under_quantization():
    model = nn.Sequential(nn.Linear(3, 3))
    model.add_module(MAPS, nn.ModuleDict({"x": FrozenMap(torch.tensor(0.5), 4, signed=True)}))
    assert maps_of(model) == ()
