"""Which bit width every quantized feature map gets when it is hardened: the most probable, or a narrower one.

Cost of a narrower width (ours): how much the mean squared error of a map grows, relative to the mean square of its
values (`MapQuantize.error`). Both it and the cost of a narrower weight (`nn.widths`) are what the layer's output gains
in relative error, so that they can be compared.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from secateur.errors import TargetError
from secateur.ir.plan_rows import MapPlan
from secateur.nn.map_sites import MapSite


def refuse_large_floats(rows: Iterable[MapPlan], limit: int) -> None:
    """TargetError for a feature map that stays float32 and is larger than a map may be."""
    for row in rows:
        if row.float_bytes > limit:
            give = ", or give it a rule" if row.is_free else f", for it stays so: {row.reason}"
            raise TargetError(
                f"largest_map_bytes {limit:,} is out of reach: the map {row.name} is kept in float32 and takes "
                f"{row.float_bytes:,} bytes; allow more{give}"
            )


def refuse_wide_maps(sites: Iterable[MapSite], limit: int) -> None:
    """TargetError for a quantized feature map that is larger than a map may be in the narrowest width of its rule."""
    for site in sites:
        least = min(site.quantizer.widths)
        if (size := _bytes(site, least)) > limit:
            raise TargetError(
                f"the feature map {site.name} takes {size:,} bytes at {least} bits, the fewest its rule allows; the "
                f"limit is largest_map_bytes {limit:,}: allow more, or narrower widths"
            )


def _bytes(site: MapSite, bits: int) -> int:
    return (site.quantizer.elements * bits + 7) // 8


@dataclass(frozen=True)
class NarrowerMap:
    """A step down: the width, and the relative error it adds."""

    bits: int
    lost: float


class MapWidths:
    """The widths of a prepared model's feature maps while it is decided how to harden it. `bits` is by name."""

    def __init__(self, sites: Iterable[MapSite]) -> None:
        self.sites = {site.name: site for site in sites}
        self.bits = {name: site.quantizer.width() for name, site in self.sites.items()}

    def begin(self) -> None:
        """Switch on what never was, with the range that was seen. PlanError where none was."""
        for site in self.sites.values():
            if not site.quantizer.is_on:
                site.quantizer.start()

    def fit(self, limit: int) -> None:
        """The widest widths that are no wider than now and keep every map within so many bytes. TargetError where one
        has none."""
        if not self.sites:
            raise TargetError(
                "largest_map_bytes is of quantized feature maps, and this plan quantizes none: plan with maps= "
                "(--map-bits)"
            )
        refuse_wide_maps(self.sites.values(), limit)
        for name, site in self.sites.items():
            widths = [bits for bits in site.quantizer.widths if bits <= self.bits[name]]
            self.bits[name] = max(bits for bits in widths if _bytes(site, bits) <= limit)

    @torch.no_grad()
    def step(self, name: str) -> NarrowerMap | None:
        """The next narrower width of a map; None where there is none."""
        quantizer, bits = self.sites[name].quantizer, self.bits[name]
        narrower = [width for width in quantizer.widths if width < bits]
        if not narrower:
            return None
        return NarrowerMap(narrower[-1], quantizer.error(narrower[-1]) - quantizer.error(bits))

    def harden(self) -> None:
        """Fix the widths, in place."""
        for name, site in self.sites.items():
            site.quantizer.harden(self.bits[name])

    def state(self) -> list[tuple[Tensor, Tensor | None]]:
        """What `begin` may change."""
        return [(site.quantizer.log_range.detach().clone(), site.quantizer.tau) for site in self.sites.values()]

    def restore(self, state: list[tuple[Tensor, Tensor | None]]) -> None:
        """Back to a state."""
        for site, (log_range, tau) in zip(self.sites.values(), state, strict=True):
            site.quantizer.log_range.data.copy_(log_range)
            site.quantizer.tau = tau
