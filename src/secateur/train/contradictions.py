"""Wishes beside a density that no choice of so many weights can hold: refused before anything is trained.

What is certain is a lower bound: the weights that a density leaves, all of them where they are cheapest. It is ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

from secateur.errors import TargetError
from secateur.ir.target import Target
from secateur.nn.transform import Transformed

NOISE_BITS = {"float32": 22, "float16": 9, "int8": 0}
"""Bits of a trained weight's sign and mantissa that no code makes shorter: all but two, as they are close to random."""


def refuse_contradiction(sites: Iterable[Transformed], target: Target) -> None:
    """TargetError where the weights of a density take more multiply-accumulates or bytes than is allowed, wherever they
    lie. Of tensors with patterns a density is an upper limit, so that nothing is certain."""
    pruned = [site for site in sites if site.transform.prunes]
    if target.density is None or any(site.transform.prune.patterns for site in pruned):
        return
    kept = max(1, round(target.density * sum(site.original.numel() for site in pruned)))
    macs = [(float(site.transform.row.reuse), site.original.numel()) for site in pruned]
    sizes = [(_least_bytes(site, target.values), site.original.numel()) for site in pruned]
    for name, prices, what in (("macs", macs, "multiply-accumulates"), ("packed_bytes", sizes, "bytes in the file")):
        limit, least = target.wishes().get(name), math.floor(_cheapest(kept, prices))
        if limit is not None and least > limit:
            raise TargetError(
                f"density {target.density:g} and {name} {limit:,} contradict each other: density leaves {kept:,} "
                f"weights, which take {least:,} {what} at least, wherever they lie; ask for a smaller density, allow "
                "more, or leave the density to the limit"
            )


def _cheapest(count: int, prices: list[tuple[float, int]]) -> float:
    """What so many weights cost together, given (price, how many there are of it), the cheapest first."""
    total = 0.0
    for price, size in sorted(prices):
        taken = min(count, size)
        total, count = total + taken * price, count - taken
    return total


def _least_bytes(site: Transformed, values: str) -> float:
    """Of one weight; 0 where nothing is certain: of codes, frozen weights, and a type with fewer bits of its own."""
    weight = site.original
    trained = weight.requires_grad and weight.dtype in (torch.float32, torch.float64)
    return NOISE_BITS[values] / 8 if trained and site.transform.quantize is None else 0.0
