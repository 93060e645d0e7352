"""ir.rules: widths as people write them, and rules that refuse nonsense."""

import dataclasses
import pickle

import pytest

from secateur.errors import PlanError
from secateur.ir.rules import Quantize


@pytest.mark.parametrize(
    ("bits", "widths", "text"),
    [
        (4, (4,), "4"),
        ((2, 8), (2, 3, 4, 5, 6, 7, 8), "2-8"),
        ((3, 3), (3,), "3"),
        ({2, 8}, (2, 8), "2, 8"),
        ([8, 2, 2], (2, 8), "2, 8"),
        ((2, 4, 8), (2, 4, 8), "2, 4, 8"),
        ({5, 6}, (5, 6), "5, 6"),
    ],
)
def test_widths(bits, widths, text):
    rule = Quantize(bits)
    assert rule.bits == widths
    assert str(rule.bits) == text


@pytest.mark.parametrize("bits", [3, (2, 8), {2, 8}, [4, 5]])
def test_a_rule_survives_being_copied_and_written(bits):
    """A set of two widths must not become the range between them."""
    rule = Quantize(bits, granularity="channel")
    assert dataclasses.replace(rule, granularity="tensor").bits == rule.bits
    assert Quantize(list(rule.bits), granularity="channel") == rule
    assert pickle.loads(pickle.dumps(rule)).bits == rule.bits
    assert eval(repr(rule)) == rule
    assert dataclasses.asdict(rule)["bits"] == rule.bits


@pytest.mark.parametrize("bits", [1, 9, 0, True, 4.0, "4", None, (), set(), (8, 2), (2, 9), [3, "4"], {2.5}])
def test_no_width_but_2_to_8(bits):
    with pytest.raises(PlanError, match=r"2 to 8 bits|lower end"):
        Quantize(bits)


def test_near_misses_are_named():
    with pytest.raises(PlanError, match="did you mean 'channel'"):
        Quantize(granularity="chanel")
    with pytest.raises(PlanError, match="did you mean 'width'"):
        Quantize(level="widths")
