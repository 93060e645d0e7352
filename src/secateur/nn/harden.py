"""harden_(): from soft gates to exact masks, and from probable to exact bit widths, that meet a target."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from secateur.errors import PlanError, TargetError
from secateur.ir.target import Target
from secateur.nn.exporting import Example
from secateur.nn.map_sites import maps_of, prepared_sites
from secateur.nn.measure import packed_bytes
from secateur.nn.packing import Packing
from secateur.nn.structure import structured
from secateur.nn.transform import Transformed
from secateur.nn.widths import Widths

SHARE = 250
"""Files are packed to find how many weights fit: to one 250th of them."""


@dataclass(frozen=True)
class HardenedTensor:
    """What hardening did to one tensor. threshold is in units of the weight (the mean where there is one a channel)."""

    name: str
    size: int
    nonzeros: int
    threshold: float
    """0 where it is not pruned."""
    moved: int
    """Weights on the other side of their learned threshold, because the target asked for more or fewer."""
    bits: int | None = None
    """Width of its codes; None where it is not quantized."""
    pruned: bool = True

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
    tensor, one a quantized feature map, and the bit operations of all of these tensors for one example."""

    factor: float
    tensors: tuple[HardenedTensor, ...]
    maps: tuple[HardenedMap, ...] = field(default=(), kw_only=True)
    bit_operations: int = field(default=0, kw_only=True)

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
    model: nn.Module, target: Target | None = None, *, structure: float = 0.0, example: Example | None = None
) -> Hardening:
    """Replace every soft gate by an exact mask and every average over widths by one width, in place; the weights
    themselves keep their values.

    One common factor on all learned thresholds meets the target: the weights with the largest |w| / alpha stay. A
    target's density is met to the weight (ties by index, first in the plan's order stay); macs and packed_bytes are
    upper limits: the largest number of weights that satisfies them stays, or, if a density is also named, TargetError
    when they do not allow it. Without a target every weight above its own learned threshold stays.

    Widths are the most probable ones. Where they exceed average_bits, or where no number of weights meets packed_bytes,
    tensors get narrower, the cheapest first (`nn.widths`). A range that was never switched on is fitted to the weights.
    Feature maps get narrower until each holds largest_map_bytes, tensors and maps until they hold bit_operations. A map
    that was never switched on gets the range that was seen in training or by `calibrate_`.

    structure  exponent of the company that a weight has in its row and column (`nn.structure`): above 0, each tensor
               keeps as many weights as without, but they lie in fewer rows and columns, which take fewer bytes
    example    what the model is called with. With it, limits on macs and packed_bytes are measured on the file that
               `pack` would write, after units that died are gone; without, sizes are upper bounds that know of no dead
               units, and the file can end far below the limit
    """
    if not 0 <= structure < math.inf:
        raise TargetError(f"structure is an exponent, 0 or above, not {structure}")
    sites, maps = soft_sites(model), maps_of(model)
    pruned = tuple(site for site in sites if site.transform.prunes)
    scores = [site.transform.prune.score(site.original) for site in pruned]
    if not all(torch.isfinite(score).all() for score in (*scores, *(site.original for site in sites))):
        raise TargetError("a weight or threshold is NaN or infinite: training diverged before hardening")
    widths = Widths(sites, maps)
    with widths.all_or_nothing():
        options = MaskOptions(structure, example, widths)
        masks, factor = masks_by_score(model, pruned, scores, target, options)
        widths.begin(_by_name(pruned, masks))
    return harden_under(sites, masks, factor, widths)


def soft_sites(model: nn.Module) -> tuple[Transformed, ...]:
    """The transformed weights of a prepared model that is not hardened yet; PlanError for any other."""
    sites, maps = prepared_sites(model)
    if any(site.transform.is_hard for site in sites) or any(site.quantizer.is_hard for site in maps):
        raise PlanError("this model is already hardened")
    return sites


@dataclass(frozen=True)
class MaskOptions:
    """How masks are chosen. structure, example: as in `harden_`; widths: of what is quantized, narrowed where a target
    asks for it."""

    structure: float = 0.0
    example: Example | None = None
    widths: Widths = field(default_factory=lambda: Widths(()))


PLAIN = MaskOptions()


def masks_by_score(
    model: nn.Module,
    sites: tuple[Transformed, ...],
    scores: list[Tensor],
    target: Target | None,
    options: MaskOptions = PLAIN,
) -> tuple[list[Tensor], float]:
    """The mask of every pruned site that keeps the largest scores of all and meets the target, and the smallest score
    that stays (1 where there is no such site). Without a target every score above 1 stays."""
    choice = _Choice(sites, scores, options.structure)
    keep = int((choice.flat > 1).sum())
    if target is not None:
        target.refuse_without_size()
        keep = _Wish(model, choice, target, options).keep(keep)
    factor = float(choice.flat[choice.order[keep - 1]]) if keep else math.inf
    return choice.masks(keep), factor if sites else 1.0


def harden_under(
    sites: tuple[Transformed, ...], masks: list[Tensor], factor: float, widths: Widths | None = None
) -> Hardening:
    """Fix the masks of the pruned sites, and the widths, in place. factor is what a weight's score |w| / alpha had to
    exceed to stay."""
    by_name = _by_name((site for site in sites if site.transform.prunes), masks)
    bits = widths.bits if widths else {}
    rows = tuple(_row(site, by_name.get(site.name), bits.get(site.name)) for site in sites)
    for site in sites:
        if site.name in by_name:
            # Laid out like the weight: their product keeps the weight's memory format, and with it the layer's speed.
            mask = torch.empty_like(site.original, dtype=torch.bool).copy_(by_name[site.name])
            site.transform.prune.harden(mask)
    if widths is None:
        return Hardening(factor, rows)
    widths.harden()
    maps = (
        HardenedMap(name, site.quantizer.elements, widths.maps.bits[name], site.quantizer.signed)
        for name, site in widths.maps.sites.items()
    )
    return Hardening(factor, rows, maps=tuple(maps), bit_operations=widths.operations(by_name))


def _by_name(sites: Iterable[Transformed], masks: list[Tensor]) -> dict[str, Tensor]:
    return dict(zip((site.name for site in sites), masks, strict=True))


class _Choice:
    """Which weights stay, given how many."""

    def __init__(self, sites: tuple[Transformed, ...], scores: list[Tensor], structure: float) -> None:
        self.sites, self.scores, self.structure = sites, scores, structure
        self.flat = torch.cat([score.flatten() for score in scores]) if scores else torch.zeros(0)
        self.order = self.flat.sort(descending=True, stable=True).indices

    def masks(self, keep: int) -> list[Tensor]:
        """One mask a site, `keep` weights altogether."""
        masks = _split(_top(self.order, keep), self.sites)
        if not self.structure:
            return masks
        pairs = zip(self.scores, masks, strict=True)
        return [structured(score, int(mask.sum()), self.structure) for score, mask in pairs]

    def named(self, keep: int) -> dict[str, Tensor]:
        """The same by name of the site."""
        return _by_name(self.sites, self.masks(keep))


def _top(order: Tensor, keep: int) -> Tensor:
    mask = torch.zeros(len(order), dtype=torch.bool, device=order.device)
    mask[order[:keep]] = True
    return mask


def _split(mask: Tensor, sites: tuple[Transformed, ...]) -> list[Tensor]:
    parts = mask.split([site.original.numel() for site in sites])
    return [part.reshape(site.original.shape).to(site.original.device) for part, site in zip(parts, sites, strict=True)]


def _row(site: Transformed, mask: Tensor | None, bits: int | None) -> HardenedTensor:
    if mask is None:
        kept = int(torch.count_nonzero(site.original))
        return HardenedTensor(site.name, site.original.numel(), kept, 0.0, 0, bits, pruned=False)
    threshold = float(site.transform.prune.alpha().mean())
    learned = site.transform.prune.score(site.original) > 1
    return HardenedTensor(site.name, mask.numel(), int(mask.sum()), threshold, int((mask != learned).sum()), bits)


class _Wish:
    """How many weights may stay under a target; widths become narrower where nothing else helps. Sizes are measured
    where there is an example, else bounded from above."""

    def __init__(self, model: nn.Module, choice: _Choice, target: Target, options: MaskOptions) -> None:
        self._model, self._choice, self._target, self._widths = model, choice, target, options.widths
        self._packing: Packing | None = None
        if options.example is not None and target.limits_size:
            self._packing = Packing(model, options.example, target.values)

    def keep(self, learned: int) -> int:
        """The number of weights that stay. learned: how many stay by their own thresholds."""
        density, total = self._target.density, len(self._choice.flat)
        if self._target.bit_operations is not None and not self._widths.are_operations_known:
            raise TargetError(
                "bit operations are counted of the tensors that a plan changes, and this plan changes none whose "
                "multiply-accumulates are known: plan with quantize= or prune= as well"
            )
        if density is not None:
            if not self._choice.sites:
                raise TargetError("a density is of the weights in pruned tensors, and this plan prunes none")
            learned = max(1, round(density * total))
        masks = self._choice.named(learned)
        self._widths.begin(masks)
        if self._target.largest_map_bytes is not None:
            self._widths.maps.fit(self._target.largest_map_bytes)
        self._average(masks)
        while self._operations(masks) and self._widths.narrow_operations(masks):
            pass
        if density is not None:
            if problem := self._narrowed(learned):
                raise TargetError(f"density {density} leaves {problem}: allow more, or leave the density to the limit")
            return learned
        if problem := self._narrowed(0):
            if not self._choice.sites:
                raise TargetError(
                    f"in the narrowest widths of this plan's rules this model has {problem}: allow narrower ones, or "
                    "prune"
                )
            raise TargetError(
                f"even with every pruned weight gone this model has {problem}: the rest of it must shrink"
            )
        low = 0 if self._bounded(0) else _between(self._bounded, 0, total + 1)
        low = _around(self._excess, low, total) if self._packing else low
        self._average(self._choice.named(low))
        return low

    def _average(self, masks: dict[str, Tensor]) -> None:
        limit = self._target.average_bits
        if limit is None:
            return
        if not self._widths.bits:
            raise TargetError("average_bits is of the weights in quantized tensors, and this plan quantizes none")
        while (average := self._widths.average(masks)) > limit:
            if not self._widths.narrow(masks):
                raise TargetError(
                    f"{average:.4g} bits a weight is the least that this plan's widths allow, the limit is {limit:g}"
                )

    def _narrowed(self, keep: int) -> str:
        """What exceeds the target with so many weights, whatever the widths."""
        while (problem := self._excess(keep)) and self._target.packed_bytes is not None:
            if not self._widths.narrow(self._choice.named(keep)):
                break
        return problem

    def _operations(self, masks: dict[str, Tensor]) -> str:
        limit = self._target.bit_operations
        if limit is not None and (found := self._widths.operations(masks)) > limit:
            return f"{found:,} bit operations, the limit is {limit:,}"
        return ""

    def _excess(self, keep: int) -> str:
        if self._packing is None:
            return self._bounded(keep)
        masks = self._choice.named(keep)
        return self._operations(masks) or self._packing.excess(masks, self._target, self._widths.bits)

    def _bounded(self, keep: int) -> str:
        masks, target = self._choice.named(keep), self._target
        if problem := self._operations(masks):
            return problem
        if target.macs is not None:
            macs = sum(site.transform.row.reuse * int(masks[site.name].sum()) for site in self._choice.sites)
            if macs > target.macs:
                return f"{macs:,} macs, the limit is {target.macs:,}"
        if target.packed_bytes is not None:
            size = packed_bytes(self._model, masks, target.values, self._widths.bits)
            if size > target.packed_bytes:
                return f"{size:,} packed bytes, the limit is {target.packed_bytes:,}"
        return ""


def _between(excess: Callable[[int], str], low: int, high: int, share: int = 0) -> int:
    """Bisection: the largest count from low, which holds, to below high, which does not; to 1/share of it, if any."""
    while high - low > max(1, low // share if share else 1):
        middle = (low + high) // 2
        low, high = (low, middle) if excess(middle) else (middle, high)
    return low


def _around(excess: Callable[[int], str], guess: int, total: int) -> int:
    """The same, with few questions, from a guess: up in growing steps, or down. Where a weight more makes the file
    smaller (another unit dies), any count that holds may be found."""
    if excess(guess):
        return _between(excess, 0, guess, SHARE)
    low, step = guess, max(1, guess // 16)
    while low < total:
        high = min(total, low + step)
        if excess(high):
            return _between(excess, low, high, SHARE)
        low, step = high, 2 * step
    return total
