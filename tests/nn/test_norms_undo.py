"""nn.norms.undo: what is put in can be taken out again, under every name."""

import torch
from torch import nn

from secateur.nn.norms.undo import Record


def test_restoring_gives_the_same_objects_with_the_same_numbers():
    layer, norm = nn.Linear(2, 3), nn.BatchNorm1d(3)
    bare = nn.Linear(3, 3, bias=False)
    model = nn.Sequential(nn.Sequential(layer, norm), bare, nn.BatchNorm1d(3))
    model.register_module("alias", norm)
    weight, bias, numbers = layer.weight, layer.bias, layer.weight.detach().clone()
    record = Record(model, [(norm, layer), (model[2], bare)])
    made = nn.Identity()
    record.put(norm, made)
    assert model[0][1] is made
    assert model.alias is made
    with torch.no_grad():
        layer.weight.zero_()
    layer.bias, bare.bias = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    record.restore()
    assert model[0][1] is norm
    assert model.alias is norm
    assert layer.weight is weight
    assert torch.equal(layer.weight, numbers)
    assert layer.bias is bias
    assert bare.bias is None
