"""When quantizing begins during training: first weights are only pruned, then ranges are set, then widths learn.
Feature maps are watched, quantized and learn their widths at the same times.

Widths fall faster than densities do, so they start late, and cool down while they learn (ours; fractions measured).
"""

from __future__ import annotations

from collections.abc import Iterable

from secateur.nn.learned_width import WARMEST
from secateur.nn.map_sites import MapSite
from secateur.nn.transform import Transformed

BEGIN = 0.4
"""Fraction of the steps after which what is pruned is quantized as well, in ranges set from what survives."""


def learning_from(quantize_at: float) -> float:
    """Fraction after which the widths learn: the first sixth of what follows quantize_at is for the ranges alone."""
    return quantize_at + (1 - quantize_at) / 6


LEARN = learning_from(BEGIN)
"""The same as a rule: half."""
COLDEST = 0.1
"""The temperature tau at the last step; geometric from WARMEST where widths begin to learn."""


def advance_(
    sites: Iterable[Transformed], fraction: float, maps: Iterable[MapSite] = (), *, quantize_at: float = BEGIN
) -> None:
    """Bring every soft stage "quantize" and every soft map to where it should be at this fraction of the run, 0 to 1.

    What is not pruned is quantized from the start, and its widths too learn from `learning_from` on. The ranges of
    weights stay within what survives. With quantize_at 1 nothing is switched on.
    """
    learn = learning_from(quantize_at)
    begins, learns = quantize_at <= fraction and quantize_at < 1, learn <= fraction and learn < 1
    tau = WARMEST * (COLDEST / WARMEST) ** ((fraction - learn) / (1 - learn)) if learns else WARMEST
    for site in sites:
        stage = site.transform.quantize
        if stage is None or stage.is_hard:
            continue
        if not stage.is_on and begins:
            stage.start(site.transform.survivors(site.original))
        if stage.is_on:
            stage.limit_(site.transform.survivors(site.original))
        if stage.is_on and learns:
            stage.learn(tau)
    for quantizer in (site.quantizer for site in maps if not site.quantizer.is_hard):
        if not quantizer.is_on and begins:
            quantizer.start()
        if quantizer.is_on and learns:
            quantizer.learn(tau)
