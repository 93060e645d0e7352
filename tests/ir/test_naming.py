from __future__ import annotations

import pytest

from secateur.ir.naming import bias_beside, fresh, module_of, refusal


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


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("constant:w.weight", "begins like the names of what tracing makes"),
        ("x" * 1025, "has 1,025 characters, a name in a file at most 1,024: rename its module"),
        ("a\ud800.weight", "no Unicode"),
    ],
)
def test_names_that_no_file_can_hold_are_refused_in_short(name, reason):
    assert reason in refusal(name)
    assert len(refusal(name)) < 160
    refusal(name).encode()  # can be printed


@pytest.mark.parametrize("name", ["conv1.weight", "x" * 1024, "constant.weight", "größe", "a b", "a\0b", "a\nb", '"'])
def test_other_names_are_taken(name):
    assert refusal(name) == ""
