"""harden_(): from soft gates to exact masks that meet a target."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from secateur.errors import PlanError, TargetError
from secateur.ir.target import Target
from secateur.nn.exporting import Example
from secateur.nn.measure import packed_bytes
from secateur.nn.packing import Packing
from secateur.nn.structure import structured
from secateur.nn.transform import Transformed, transforms_of

SHARE = 250
"""Files are packed to find how many weights fit: to one 250th of them."""


@dataclass(frozen=True)
class HardenedTensor:
    """What hardening did to one tensor. threshold is in units of the weight (the mean where there is one a channel)."""

    name: str
    size: int
    nonzeros: int
    threshold: float
    moved: int
    """Weights on the other side of their learned threshold, because the target asked for more or fewer."""

    @property
    def density(self) -> float:
        """Fraction kept."""
        return self.nonzeros / self.size


@dataclass(frozen=True)
class Hardening:
    """The result of `harden_`: the common factor on all learned thresholds and one row a tensor."""

    factor: float
    tensors: tuple[HardenedTensor, ...]

    @property
    def density(self) -> float:
        """Fraction of the weights of all pruned tensors that stays."""
        return sum(t.nonzeros for t in self.tensors) / sum(t.size for t in self.tensors)


@torch.no_grad()
def harden_(
    model: nn.Module, target: Target | None = None, *, structure: float = 0.0, example: Example | None = None
) -> Hardening:
    """Replace every soft gate by an exact mask, in place; the kept weights keep their values.

    One common factor on all learned thresholds meets the target: the weights with the largest |w| / alpha stay. A
    target's density is met to the weight (ties by index, first in the plan's order stay); macs and packed_bytes are
    upper limits: the largest number of weights that satisfies them stays, or, if a density is also named, TargetError
    when they do not allow it. Without a target every weight above its own learned threshold stays.

    structure  exponent of the company that a weight has in its row and column (`nn.structure`): above 0, each tensor
               keeps as many weights as without, but they lie in fewer rows and columns, which take fewer bytes
    example    what the model is called with. With it, limits on macs and packed_bytes are measured on the file that
               `pack` would write, after units that died are gone; without, sizes are upper bounds that know of no dead
               units, and the file can end far below the limit
    """
    if not 0 <= structure < math.inf:
        raise TargetError(f"structure is an exponent, 0 or above, not {structure}")
    sites = soft_sites(model)
    scores = [site.transform.prune.score(site.original) for site in sites]
    if not all(torch.isfinite(score).all() for score in scores):
        raise TargetError("a weight or threshold is NaN or infinite: training diverged before hardening")
    masks, factor = masks_by_score(model, sites, scores, target, structure=structure, example=example)
    return harden_under(sites, masks, factor)


def soft_sites(model: nn.Module) -> tuple[Transformed, ...]:
    """The transformed weights of a prepared model that is not hardened yet; PlanError for any other."""
    sites = transforms_of(model)
    if not sites:
        raise PlanError("this model is not prepared: call prepare_(model, plan) first")
    if any(site.transform.is_hard for site in sites):
        raise PlanError("this model is already hardened")
    return sites


def masks_by_score(
    model: nn.Module,
    sites: tuple[Transformed, ...],
    scores: list[Tensor],
    target: Target | None,
    *,
    structure: float = 0.0,
    example: Example | None = None,
) -> tuple[list[Tensor], float]:
    """The mask of every site that keeps the largest scores of all sites and meets the target, and the smallest score
    that stays. Without a target every score above 1 stays. structure, example: as in `harden_`."""
    if target is not None:
        target.refuse_without_size()
    choice = _Choice(sites, scores, structure)
    keep = int((choice.flat > 1).sum()) if target is None else _largest_within(model, choice, target, example)
    return choice.masks(keep), float(choice.flat[choice.order[keep - 1]]) if keep else math.inf


def harden_under(sites: tuple[Transformed, ...], masks: list[Tensor], factor: float) -> Hardening:
    """Fix the masks, in place. factor is what a weight's score |w| / alpha had to exceed to stay."""
    rows = tuple(_row(site, mask) for site, mask in zip(sites, masks, strict=True))
    for site, mask in zip(sites, masks, strict=True):
        # Laid out like the weight: their product keeps the weight's memory format, and with it the layer's speed.
        site.transform.prune.harden(torch.empty_like(site.original, dtype=torch.bool).copy_(mask))
    return Hardening(factor, rows)


class _Choice:
    """Which weights stay, given how many."""

    def __init__(self, sites: tuple[Transformed, ...], scores: list[Tensor], structure: float) -> None:
        self.sites, self.scores, self.structure = sites, scores, structure
        self.flat = torch.cat([score.flatten() for score in scores])
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
        return dict(zip((site.name for site in self.sites), self.masks(keep), strict=True))


def _top(order: Tensor, keep: int) -> Tensor:
    mask = torch.zeros(len(order), dtype=torch.bool, device=order.device)
    mask[order[:keep]] = True
    return mask


def _split(mask: Tensor, sites: tuple[Transformed, ...]) -> list[Tensor]:
    parts = mask.split([site.original.numel() for site in sites])
    return [part.reshape(site.original.shape).to(site.original.device) for part, site in zip(parts, sites, strict=True)]


def _row(site: Transformed, mask: Tensor) -> HardenedTensor:
    threshold = float(site.transform.prune.alpha().mean())
    learned = site.transform.prune.score(site.original) > 1
    return HardenedTensor(site.name, mask.numel(), int(mask.sum()), threshold, int((mask != learned).sum()))


def _largest_within(model: nn.Module, choice: _Choice, target: Target, example: Example | None) -> int:
    """How many weights stay. Sizes are measured where there is an example, else bounded from above."""

    def bounded(keep: int) -> str:
        masks = choice.named(keep)
        if target.macs is not None:
            macs = sum(site.transform.row.reuse * int(masks[site.name].sum()) for site in choice.sites)
            if macs > target.macs:
                return f"{macs:,} macs, the limit is {target.macs:,}"
        if target.packed_bytes is not None:
            size = packed_bytes(model, masks, target.values)
            if size > target.packed_bytes:
                return f"{size:,} packed bytes, the limit is {target.packed_bytes:,}"
        return ""

    packing = Packing(model, example, target.values) if example is not None and target.limits_size else None

    def excess(keep: int) -> str:
        return packing.excess(choice.named(keep), target) if packing else bounded(keep)

    total = len(choice.flat)
    if target.density is not None:
        keep = max(1, round(target.density * total))
        if problem := excess(keep):
            raise TargetError(
                f"density {target.density} leaves {problem}: allow more, or leave the density to the limit"
            )
        return keep
    if problem := excess(0):
        raise TargetError(f"even with every pruned weight gone this model has {problem}: the rest of it must shrink")
    low = 0 if bounded(0) else _between(bounded, 0, total + 1)
    return _around(excess, low, total) if packing else low


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
