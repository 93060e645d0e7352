"""harden_(): from soft gates to exact masks that meet a target."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from secateur.errors import PlanError, TargetError
from secateur.ir.target import Target
from secateur.nn.measure import packed_bytes
from secateur.nn.structure import structured
from secateur.nn.transform import Transformed, transforms_of


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
def harden_(model: nn.Module, target: Target | None = None, *, structure: float = 0.0) -> Hardening:
    """Replace every soft gate by an exact mask, in place; the kept weights keep their values.

    One common factor on all learned thresholds meets the target: the weights with the largest |w| / alpha stay. A
    target's density is met to the weight (ties by index, first in the plan's order stay); macs and packed_bytes are
    upper limits: the largest number of weights that satisfies them stays, or, if a density is also named, TargetError
    when they do not allow it. Without a target every weight above its own learned threshold stays.

    structure  exponent of the company that a weight has in its row and column (`nn.structure`): above 0, each tensor
               keeps as many weights as without, but they lie in fewer rows and columns, which take fewer bytes
    """
    if not 0 <= structure < math.inf:
        raise TargetError(f"structure is an exponent, 0 or above, not {structure}")
    sites = soft_sites(model)
    scores = [site.transform.prune.score(site.original) for site in sites]
    if not all(torch.isfinite(score).all() for score in scores):
        raise TargetError("a weight or threshold is NaN or infinite: training diverged before hardening")
    masks, factor = masks_by_score(model, sites, scores, target, structure)
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
    structure: float = 0.0,
) -> tuple[list[Tensor], float]:
    """The mask of every site that keeps the largest scores of all sites and meets the target, and the smallest score
    that stays. Without a target every score above 1 stays. structure: as in `harden_`."""
    if target is not None:
        target.refuse_without_size()
    choice = _Choice(sites, scores, structure)
    keep = int((choice.flat > 1).sum()) if target is None else _largest_within(model, sites, target, choice.masks)
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


def _largest_within(
    model: nn.Module, sites: tuple[Transformed, ...], target: Target, masks_for: Callable[[int], list[Tensor]]
) -> int:
    total = sum(site.original.numel() for site in sites)

    def excess(keep: int) -> str:
        masks = masks_for(keep)
        if target.macs is not None:
            macs = sum(site.transform.row.reuse * int(mask.sum()) for site, mask in zip(sites, masks, strict=True))
            if macs > target.macs:
                return f"{macs:,} macs, the limit is {target.macs:,}"
        if target.packed_bytes is not None:
            size = packed_bytes(model, dict(zip((site.name for site in sites), masks, strict=True)), target.values)
            if size > target.packed_bytes:
                return f"{size:,} packed bytes, the limit is {target.packed_bytes:,}"
        return ""

    if target.density is not None:
        keep = max(1, round(target.density * total))
        if problem := excess(keep):
            raise TargetError(
                f"density {target.density} leaves {problem}: allow more, or leave the density to the limit"
            )
        return keep
    if problem := excess(0):
        raise TargetError(f"even with every pruned weight gone this model has {problem}: the rest of it must shrink")
    low, high = 0, total + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if not excess(middle) else (low, middle)
    return low
