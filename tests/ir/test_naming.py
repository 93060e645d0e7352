from __future__ import annotations

import pytest

from secateur.ir.naming import bias_beside, fresh, module_of


@pytest.mark.parametrize(("tensor", "module"), [("layer1.conv.weight", "layer1.conv"), ("weight", ""), ("a.b", "a")])
def test_module_of(tensor: str, module: str):
    assert module_of(tensor) == module


def test_fresh_takes_the_first_free_number():
    assert fresh("a", {"b"}) == "a"
    assert fresh("a", {"a", "a_1", "a_3"}) == "a_2"


def test_bias_beside_its_weight():
    assert bias_beside("conv1.weight", ()) == "conv1.bias"
    assert bias_beside("conv1.weight", {"conv1.bias"}) == "conv1.bias_1"
    assert bias_beside("weight", ()) == "bias"
