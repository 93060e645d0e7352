"""harden_(): from soft gates to exact masks, and from probable to exact bit widths, that meet a target."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from secateur.errors import PlanError, TargetError
from secateur.ir.pattern import GroupCounts
from secateur.ir.target import Target
from secateur.nn.exporting import Example
from secateur.nn.map_sites import maps_of, prepared_sites
from secateur.nn.masks import MaskOptions, by_name, masks_by_score
from secateur.nn.measure import ESTIMATED
from secateur.nn.patterns import group_counts
from secateur.nn.transform import Transformed
from secateur.nn.widths import Widths


@dataclass(frozen=True)
class HardenedTensor:
    """What hardening did to one tensor. threshold is in units of the weight (the mean where there is one a channel)."""

    name: str
    size: int
    nonzeros: int
    threshold: float
    """0 where it is not pruned."""
    moved: int
    """Weights on the other side of their learned threshold, because the target asked for more or fewer, or a pattern
    for others."""
    bits: int | None = None
    """Width of its codes; None where it is not quantized."""
    pruned: bool = True
    pattern: str | None = None
    """What it was hardened to, "4:16"; None where it was to none."""
    groups: GroupCounts | None = None
    """Of a pattern: how many groups keep how many weights, before and after."""

    @property
    def density(self) -> float:
        """Fraction kept."""
        return self.nonzeros / self.size


@dataclass(frozen=True)
class HardenedMap:
    """What hardening did to one feature map: `size` values for one example, in so many bits each."""

    name: str
    size: int
    bits: int
    signed: bool

    @property
    def bytes(self) -> int:
        """For one example."""
        return (self.size * self.bits + 7) // 8


@dataclass(frozen=True)
class Hardening:
    """The result of `harden_`: the common factor on all learned thresholds (1 where nothing is pruned), one row a
    tensor, one a quantized feature map, the bit operations of all of these tensors for one example, and what else a
    user should know, in words."""

    factor: float
    tensors: tuple[HardenedTensor, ...]
    maps: tuple[HardenedMap, ...] = field(default=(), kw_only=True)
    bit_operations: int = field(default=0, kw_only=True)
    notes: tuple[str, ...] = field(default=(), kw_only=True)

    @property
    def largest_map_bytes(self) -> int:
        """Of the quantized feature maps, for one example; 0 where there are none."""
        return max((row.bytes for row in self.maps), default=0)

    @property
    def density(self) -> float:
        """Fraction of the weights of all pruned tensors that stays; 1.0 where none is pruned."""
        pruned = [t for t in self.tensors if t.pruned]
        return sum(t.nonzeros for t in pruned) / sum(t.size for t in pruned) if pruned else 1.0

    @property
    def average_bits(self) -> float | None:
        """Mean width of the kept weights of all quantized tensors; None where none is quantized or none is kept."""
        quantized = [(t.nonzeros, t.bits) for t in self.tensors if t.bits is not None]
        kept = sum(count for count, _ in quantized)
        return sum(count * bits for count, bits in quantized) / kept if kept else None


@torch.no_grad()
def harden_(
    model: nn.Module,
    target: Target | None = None,
    *,
    structure: float = 0.0,
    example: Example | None = None,
    sort: bool = False,
) -> Hardening:
    """Replace every soft gate by an exact mask and every average over widths by one width, in place; the weights
    themselves keep their values.

    One common factor on all learned thresholds meets the target: the weights with the largest |w| / alpha stay. A
    target's density is met to the weight (ties by index, first in the plan's order stay); macs and packed_bytes are
    upper limits: the largest number of weights that satisfies them stays, or, if a density is also named, TargetError
    when they do not allow it. Without a target every weight above its own learned threshold stays.

    Tensors with a pattern, n of every m, keep the n largest of every group, ties by index; PlanError where a target
    names another density than theirs. Those with several n get the largest that the target allows, where the cheapest
    in lost energy go down first (`nn.patterns`; all of them the largest where there is no target); a density is an
    upper limit for them, and what is left to the weight goes to tensors without a pattern, where there are such.

    Widths are the most probable ones. Where they exceed average_bits, or where no number of weights meets packed_bytes,
    tensors get narrower, the cheapest first (`nn.widths`). A range that was never switched on is fitted to the weights.
    Feature maps get narrower until each holds largest_map_bytes, tensors and maps until they hold bit_operations. A map
    that was never switched on gets the range that was seen in training or by `calibrate_`.

    structure  exponent of the company that a weight has in its row and column (`nn.structure`): above 0, each tensor
               keeps as many weights as without, but they lie in fewer rows and columns, which take fewer bytes
    example    what the model is called with. With it, limits on macs and packed_bytes are measured on the file that
               `pack` would write, after units that died are gone; without, packed_bytes are an estimate, which `notes`
               then says: it knows of no dead units, so that the file can end far below the limit, and above it where
               the forward holds tables of numbers or many operations of its own, or norms that fold into no layer
    sort       with an example: the file is the one that `pack` writes with sort=True, which is smaller, so that more
               weights stay
    """
    if not 0 <= structure < math.inf:
        raise TargetError(f"structure is an exponent, 0 or above, not {structure}")
    sites, maps = soft_sites(model), maps_of(model)
    pruned = tuple(site for site in sites if site.transform.prunes)
    scores = [site.transform.prune.score(site.original) for site in pruned]
    energies = [site.transform.pruned(site.original).float().square() for site in pruned]
    if not all(torch.isfinite(score).all() for score in (*scores, *(site.original for site in sites))):
        raise TargetError("a weight or threshold is NaN or infinite: training diverged before hardening")
    widths = Widths(sites, maps)
    with widths.all_or_nothing():
        options = MaskOptions(structure, example, widths, energies, sort)
        masks, factor = masks_by_score(model, pruned, scores, target, options)
        widths.begin(by_name(pruned, masks))
    return noted(harden_under(sites, masks, factor, widths), target, example)


def noted(hardening: Hardening, target: Target | None, example: Example | None) -> Hardening:
    """With a note where a limit on bytes was judged without the file."""
    guessed = example is None and target is not None and target.packed_bytes is not None
    return replace(hardening, notes=(*hardening.notes, ESTIMATED)) if guessed else hardening


def soft_sites(model: nn.Module) -> tuple[Transformed, ...]:
    """The transformed weights of a prepared model that is not hardened yet; PlanError for any other."""
    sites, maps = prepared_sites(model)
    if any(site.transform.is_hard for site in sites) or any(site.quantizer.is_hard for site in maps):
        raise PlanError("this model is already hardened")
    return sites


def harden_under(
    sites: tuple[Transformed, ...], masks: list[Tensor], factor: float, widths: Widths | None = None
) -> Hardening:
    """Fix the masks of the pruned sites, and the widths, in place. factor is what a weight's score |w| / alpha had to
    exceed to stay."""
    chosen = by_name((site for site in sites if site.transform.prunes), masks)
    bits = widths.bits if widths else {}
    rows = tuple(_row(site, chosen.get(site.name), bits.get(site.name)) for site in sites)
    for site in sites:
        if site.name in chosen:
            # Laid out like the weight: their product keeps the weight's memory format, and with it the layer's speed.
            mask = torch.empty_like(site.original, dtype=torch.bool).copy_(chosen[site.name])
            site.transform.prune.harden(mask)
    if widths is None:
        return Hardening(factor, rows)
    widths.harden()
    maps = (
        HardenedMap(name, site.quantizer.elements, widths.maps.bits[name], site.quantizer.signed)
        for name, site in widths.maps.sites.items()
    )
    return Hardening(factor, rows, maps=tuple(maps), bit_operations=widths.operations(chosen))


def _row(site: Transformed, mask: Tensor | None, bits: int | None) -> HardenedTensor:
    if mask is None:
        kept = int(torch.count_nonzero(site.original))
        return HardenedTensor(site.name, site.original.numel(), kept, 0.0, 0, bits, pruned=False)
    stage = site.transform.prune
    threshold, learned = stage.threshold(site.original), stage.keeps(site.original)
    counts = (mask.numel(), int(mask.sum()), threshold, int((mask != learned).sum()))
    found = stage.pattern_of(mask)
    if found is None:
        return HardenedTensor(site.name, *counts, bits)
    return HardenedTensor(site.name, *counts, bits, pattern=str(found), groups=group_counts(site, learned, mask))
