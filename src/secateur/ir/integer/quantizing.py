"""Where codes are made: from other integers by requantizing, or from float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from secateur.ir.graph import Node
from secateur.ir.integer.integers import Integers
from secateur.ir.integer.requantize import requantize
from secateur.ir.integer.site import IntegerArray, Lowered, Rule, Site, scale_of
from secateur.ir.ops.quantization import nearest_codes
from secateur.maths.map_grid import codes

if TYPE_CHECKING:
    from jaxtyping import Float32, Int32


def lower_requantize(site: Site) -> Lowered | str:
    """fake_quantize of integers."""
    x, made = site.integers(0), codes_of_floats(site).result
    if isinstance(x, str):
        return x
    found = requantize(x, made.scales[0], (made.low, made.high), len(site.output))
    return found if isinstance(found, str) else Lowered(made, {"requantize": found})


def run_requantize(arrays: list[IntegerArray], _node: Node, lowered: Lowered, _batch: int) -> IntegerArray:
    """Codes, in int32 like all integers that are small enough."""
    return lowered.parts["requantize"](arrays[0]).astype(np.int32)


def codes_of_floats(site: Site) -> Lowered:
    """fake_quantize of float32: its codes, and what they stand for."""
    stored, bits = site.stored(1), site.int("bits")
    assert stored is not None
    low, high = codes(bits, signed=bool(site.attribute("signed")))
    return Lowered(Integers((scale_of(stored),), low, high))


def quantize(x: Float32[np.ndarray, "*n"], scale: Float32[np.ndarray, ""], node: Node) -> Int32[np.ndarray, "*n"]:
    """The codes of a fake_quantize of float32; a NaN, which has none, becomes 0."""
    bits, signed = node.attributes["bits"], node.attributes["signed"]
    assert isinstance(bits, int)
    found = nearest_codes(x, scale, bits=bits, signed=bool(signed))
    return np.asarray(np.where(np.isnan(found), np.float32(0), found).astype(np.int32))


REQUANTIZE = Rule(lower_requantize, run_requantize)
