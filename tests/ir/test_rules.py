"""ir.rules: widths as people write them, and rules that refuse nonsense."""

import dataclasses
import pickle

import pytest

from secateur.errors import PlanError
from secateur.ir.rules import Prune, Quantize


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


def test_the_gradient_form_where_none_is_named():
    assert Prune().form == Prune("balanced", n=(2, 4), m=16).form == "straight_through"
    assert Prune("balanced", n=4, m=16).form == "dense"


def test_near_misses_are_named():
    with pytest.raises(PlanError, match="did you mean 'channel'"):
        Quantize(granularity="chanel")
    with pytest.raises(PlanError, match="did you mean 'width'"):
        Quantize(level="widths")


@pytest.mark.parametrize(
    ("n", "counts", "text"),
    [
        (4, (4,), "balanced 4:16, dense, per tensor"),
        ([4], (4,), "balanced 4:16, dense, per tensor"),
        ((8, 1, 2, 2), (1, 2, 8), "balanced 1, 2, 8:16, straight_through, per tensor"),
        ({2, 4}, (2, 4), "balanced 2, 4:16, straight_through, per tensor"),
        ((2, 4), (2, 4), "balanced 2, 4:16, straight_through, per tensor"),
    ],
)
def test_counts_of_a_pattern(n, counts, text):
    rule = Prune("balanced", n=n, m=16)
    assert tuple(pattern.n for pattern in rule.patterns) == counts
    assert str(rule) == text
    assert eval(repr(rule)) == rule
    assert dataclasses.replace(rule, form="analytic").patterns == rule.patterns


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"method": "balanced"}, "a pattern needs both"),
        ({"method": "balanced", "n": 4}, "a pattern needs both"),
        ({"method": "balanced", "n": 4.0, "m": 16}, "a pattern needs both"),
        ({"method": "balanced", "n": "4", "m": 16}, "a pattern needs both"),
        ({"method": "balanced", "n": True, "m": 16}, "a pattern needs both"),
        ({"method": "balanced", "n": (), "m": 16}, "a pattern needs both"),
        ({"method": "balanced", "n": 17, "m": 16}, "n = 1 to 15"),
        ({"method": "balanced", "n": (1, 16), "m": 16}, "n = 1 to 15"),
        ({"method": "balanced", "n": 4, "m": 1}, "m = 2 to 1024"),
        ({"method": "balanced", "n": 4, "m": 16, "groups": "bank"}, "did you mean 'banks'"),
        ({"method": "balanced", "n": 4, "m": 16, "decay": 1e-4}, '"sr_ste" has a decay'),
        ({"method": "sr_ste", "n": 4, "m": 16, "decay": 1.0}, '"sr_ste" has a decay'),
        ({"method": "sr_ste", "n": (2, 4), "m": 16}, 'only "balanced" chooses'),
        ({"method": "top_n", "n": 4, "m": 16, "form": "analytic"}, "learns no threshold"),
        ({"method": "sr_ste", "n": 4, "m": 16, "start": 0.5}, "learns no threshold"),
        ({"n": 4, "m": 16}, "only a pattern has that"),
        ({"also": "2:4"}, "only a pattern has that"),
        ({"groups": "banks"}, "only a pattern has that"),
    ],
)
def test_what_does_not_go_together_in_a_pattern(arguments, words):
    with pytest.raises(PlanError, match=words):
        Prune(**arguments)
