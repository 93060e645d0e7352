"""reporting.maps: a row a feature map of the plan, with the width it was hardened to."""

from dataclasses import dataclass

from secateur.ir.plan import Plan
from secateur.ir.plan_rows import MapPlan
from secateur.ir.rules import Quantize
from secateur.reporting.maps import largest_map_bytes, map_rows


@dataclass
class Hardened:
    name: str
    bits: int


PLAN = Plan(
    (),
    (
        MapPlan("a", "ReLU", (3, 5), signed=False, quantize=Quantize((2, 4))),
        MapPlan("b", "Conv2d", (100,), reason="an output of the model stays float"),
    ),
)


def test_rows():
    first, second = map_rows(PLAN, [Hardened("a", 3)])
    assert (first.name, first.values, first.bits, first.bytes, first.rule) == ("a", 15, 3, 6, "2-4 bits")
    assert (second.bits, second.bytes, second.rule) == (None, 400, "")
    assert second.reason == "an output of the model stays float"
    assert largest_map_bytes((first, second)) == 6, "of the quantized ones"
    assert largest_map_bytes(()) == 0
