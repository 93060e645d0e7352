"""refit_(): while fine-tuning changes what a file takes, cut the weights that its limit asks for, or give back those
that it has room for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from secateur.errors import PlanError
from secateur.ir.target import Target
from secateur.nn.exporting import Example
from secateur.nn.map_sites import prepared_sites
from secateur.nn.masks import by_name
from secateur.nn.packing import Packing
from secateur.nn.transform import Transformed
from secateur.nn.widths import Widths

NEAR = 1 / 2000
"""Of a limit: where less than this is left, nothing more is asked."""
QUESTIONS = 24
"""Files are packed to find how many weights fit: so many at most."""


@dataclass(frozen=True)
class Refit:
    """What `refit_` did: how many weights more it cut, or how many came back."""

    cut: int = 0
    grown: int = 0


NONE = Refit()
"""Nothing was to be done."""


@torch.no_grad()
def refit_(model: nn.Module, target: Target, example: Example, *, sort: bool = False) -> Refit:
    """Bring a hardened model's file to the limits of target.packed_bytes and target.macs again, in place.

    Fine-tuning changes the values that are coded, and with biases which units are dead: a file can leave the limit that
    hardening met, or leave some of it unused. Where it is too large, as few weights go as it takes, those with the
    smallest |w| / alpha of what stays. Where there is room, weights come back that were cut, those with the largest
    |w| / alpha, with the values they were cut with: call it while there is fine-tuning left. No more come back than the
    target's density, bit_operations and average_bits allow.

    Where not even a file without any pruned weight holds the limit, nothing changes; nor does anything of a tensor that
    keeps n of every m, or where neither is limited. PlanError for a model that is not hardened.

    sort  the file is the one that `pack` writes with sort=True
    """
    found, maps = prepared_sites(model)
    if not all(site.transform.is_hard for site in found) or not all(site.quantizer.is_hard for site in maps):
        raise PlanError("this model is not hardened: call harden_ first")
    pruned = [site for site in found if site.transform.prunes]
    sites = [site for site in pruned if not site.transform.prune.patterns]
    if not (sites and target.limits_size):
        return NONE
    order = _Order(sites)
    given = {site.name: _mask(site) for site in pruned if site.transform.prune.patterns}
    room = _Room(Packing(model, example, target.values, sort=sort), Widths(found, maps), target)
    kept = most(lambda count: room.left({**given, **order.masks(count)}), order.kept, _allowed(pruned, sites, target))
    if kept is None or kept == order.kept:
        return NONE
    for site, mask in order.masks(kept).items():
        order.sites[site].transform.prune.harden(mask)
    return Refit(max(0, order.kept - kept), max(0, kept - order.kept))


class _Order:
    """The weights of some hardened tensors, from those that stay longest to those that come back last."""

    def __init__(self, sites: list[Transformed]) -> None:
        self.sites = {site.name: site for site in sites}
        before = [_mask(site) for site in sites]
        scores = [site.transform.prune.score(site.original) for site in sites]
        self.kept = sum(int(mask.sum()) for mask in before)
        cut = torch.cat([torch.where(mask, -1.0, score).flatten() for mask, score in zip(before, scores, strict=True)])
        stay = torch.cat([torch.where(mask, score, -1.0).flatten() for mask, score in zip(before, scores, strict=True)])
        first, then = (part.sort(descending=True, stable=True).indices for part in (stay, cut))
        self._order = torch.cat([first[: self.kept], then[: len(cut) - self.kept]])

    def masks(self, count: int) -> dict[str, Tensor]:
        """By name the masks that leave so many weights, laid out like the weights (see `nn.harden`)."""
        flat = torch.zeros(len(self._order), dtype=torch.bool, device=self._order.device)
        flat[self._order[:count]] = True
        sites = self.sites.values()
        parts = flat.split([site.original.numel() for site in sites])
        pairs = zip(sites, parts, strict=True)
        like = [
            torch.empty_like(site.original, dtype=torch.bool).copy_(p.reshape(site.original.shape)) for site, p in pairs
        ]
        return by_name(sites, like)


@dataclass(frozen=True)
class _Room:
    """How much of a target's limits a choice of masks leaves unused."""

    packing: Packing
    widths: Widths
    target: Target

    def left(self, masks: Mapping[str, Tensor]) -> float:
        """Of the limit that is nearest, the fraction left; below 0 where it is exceeded."""
        limits = self.target.wishes()
        found: dict[str, float] = {**self.packing.sizes(masks, self.target)}
        if "bit_operations" in limits:
            found["bit_operations"] = self.widths.operations(masks)
        if "average_bits" in limits:
            found["average_bits"] = self.widths.average(masks)
        return min(1 - value / limits[name] for name, value in found.items())


def most(left: Callable[[int], float], start: int, total: int) -> int | None:
    """A count, 0 to total, that leaves something and less than NEAR, or after which one more leaves nothing; None where
    none is found that leaves anything.

    left(count) is the fraction of a limit left, below 0 where it is exceeded. It falls nearly evenly, so that few
    questions are enough, beginning at `start`; where it rises now and then, any such count may be found.
    """
    low, high = _Asked(-1, math.inf), _Asked(total + 1, -math.inf)
    count, step = start, 0.0
    for question in range(QUESTIONS):
        asked = _Asked(count, left(count))
        low, high = (asked, high) if asked.left >= 0 else (low, asked)
        if 0 <= low.left < NEAR or high.count - low.count <= 1:
            break
        if math.isinf(low.left) or math.isinf(high.left):  # as if every weight took as much as all do on average
            step = max(2 * step, 1.0, abs(asked.left) / max(1 - asked.left, NEAR) * count)
            count = count + round(step) if asked.left >= 0 else count - round(step)
        elif question % 3 == 2:
            count = (low.count + high.count) // 2
        else:
            share = low.left / (low.left - high.left)
            count = low.count + math.floor(share * (high.count - low.count))
        count = min(max(count, low.count + 1), high.count - 1)
    return None if low.count < 0 else low.count


@dataclass(frozen=True)
class _Asked:
    """What a count leaves."""

    count: int
    left: float


def _allowed(pruned: list[Transformed], sites: list[Transformed], target: Target) -> int:
    """How many weights of these sites may stay, whatever the size of the file."""
    total = sum(site.original.numel() for site in sites)
    if target.density is None:
        return total
    kept = {site.name: int(_mask(site).sum()) for site in pruned}
    free = {site.name for site in sites}
    given = sum(count for name, count in kept.items() if name not in free)
    asked = max(1, round(target.density * sum(site.original.numel() for site in pruned))) - given
    return max(asked, sum(kept[name] for name in free))


def _mask(site: Transformed) -> Tensor:
    mask = site.transform.prune.mask
    assert mask is not None
    return mask
