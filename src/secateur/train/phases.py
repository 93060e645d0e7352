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
LEARN = 0.5
"""Fraction after which the widths learn."""
COLDEST = 0.1
"""The temperature tau at the last step; geometric from WARMEST at LEARN."""


def advance_(sites: Iterable[Transformed], fraction: float, maps: Iterable[MapSite] = ()) -> None:
    """Bring every soft stage "quantize" and every soft map to where it should be at this fraction of the run, 0 to 1.

    What is not pruned is quantized from the start, and its widths too learn from LEARN on. The ranges of weights stay
    within what survives.
    """
    tau = WARMEST * (COLDEST / WARMEST) ** ((fraction - LEARN) / (1 - LEARN))
    for site in sites:
        stage = site.transform.quantize
        if stage is None or stage.is_hard:
            continue
        if not stage.is_on and fraction >= BEGIN:
            stage.start(site.transform.survivors(site.original))
        if stage.is_on:
            stage.limit_(site.transform.survivors(site.original))
        if stage.is_on and fraction >= LEARN:
            stage.learn(tau)
    for quantizer in (site.quantizer for site in maps if not site.quantizer.is_hard):
        if not quantizer.is_on and fraction >= BEGIN:
            quantizer.start()
        if quantizer.is_on and fraction >= LEARN:
            quantizer.learn(tau)
