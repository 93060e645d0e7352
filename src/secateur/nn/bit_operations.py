"""Bit operations: what the multiply-accumulates of a network take, by the widths of what they multiply.

A layer's are its multiply-accumulates with weights that are not zero, times bits of a weight, times bits of the feature
map it reads; FLOAT_BITS where one of them stays floating point. Source: the usual count of mixed-precision networks,
e.g. Baskin et al., "UNIQ", arXiv 1804.10969, section 4, whose additions are left out. Of a weight that several feature
maps pass through, the widest counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from secateur.ir.plan_rows import MapPlan, TensorPlan

FLOAT_BITS = 32


def read_by(weights: Mapping[str, TensorPlan], maps: Iterable[MapPlan]) -> dict[str, tuple[str, ...]]:
    """Weight -> the maps that it multiplies, by name; only those in `maps`."""
    rows = tuple(maps)
    return {
        name: tuple(row.name for row in rows if not {weight.name, *weight.tied}.isdisjoint(row.reads))
        for name, weight in weights.items()
    }


def bit_operations(
    macs: Mapping[str, Any],
    weight_bits: Mapping[str, Any],
    map_bits: Mapping[str, Any],
    reads: Mapping[str, Iterable[str]],
) -> Any:
    """Their sum, as a number or, where the figures are such, as a tensor with gradients.

    macs         weight -> multiply-accumulates with what of it is not zero
    weight_bits  weight -> bits, of those that are quantized
    map_bits     map -> bits
    reads        as `read_by` gives it
    """
    total: Any = 0
    for name, count in macs.items():
        bits = max((map_bits[one] for one in reads.get(name, ())), default=FLOAT_BITS)
        total = total + count * weight_bits.get(name, FLOAT_BITS) * bits
    return total
