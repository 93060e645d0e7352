"""ir.map_names: a map's name comes back from its key, and from the constant that holds its scale."""

import pytest
from torch import nn

from secateur.ir.graph import Graph, Node, ValueType
from secateur.ir.map_names import TAKEN, is_scale, key_of, keys_in, name_of, scale_key
from secateur.nn.maps.insertion import Quantizers


def test_names_come_back_and_keys_hold_no_dot():
    for name in ("input", "layer1.0.relu_1", "lstm.0"):
        assert "." not in key_of(name)
        assert name_of(key_of(name)) == name


def test_quantizing_operations_are_told_by_the_names_of_their_scales():
    own, strange = scale_key(key_of("layer1.0.relu")), "somebody.scale"
    attributes = {"bits": 4, "signed": True}
    nodes = (Node("fake_quantize", ("x", own), "q", attributes), Node("fake_quantize", ("q", strange), "r", attributes))
    assert (is_scale(own), is_scale(strange)) == (True, False)
    types = dict.fromkeys(("x", "q", "r"), ValueType((-1, 3))) | dict.fromkeys((own, strange), ValueType(()))
    assert keys_in(Graph(("x",), ("r",), (own, strange), nodes, types)) == {"q": "layer1:0:relu"}


def test_names_that_containers_of_modules_have_taken_get_other_keys():
    taken = {name for name in dir(Quantizers()) if not name.startswith("_")}
    assert taken <= TAKEN
    for name in sorted(taken):
        nn.ModuleDict({key_of(name): nn.Identity()})
        assert name_of(key_of(name)) == name
    with pytest.raises(KeyError):
        nn.ModuleDict({"float": nn.Identity()})
