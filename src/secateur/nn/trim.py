"""trim_(): after fine-tuning, cut the few weights more that a limit on the file asks for."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from secateur.errors import PlanError
from secateur.ir.target import Target
from secateur.nn.exporting import Example
from secateur.nn.map_sites import prepared_sites
from secateur.nn.packing import Packing


@torch.no_grad()
def trim_(model: nn.Module, target: Target, example: Example, *, sort: bool = False) -> int:
    """Cut as few weights of a hardened model as its file takes to hold target.packed_bytes and target.macs, in place;
    returns how many: those with the smallest |w| / alpha of what stays.

    Fine-tuning changes the values that are coded, and with biases which units are dead, so that a file can leave the
    limit again that hardening met. Where not even a file without any pruned weight holds it, nothing is cut; nor is
    anything of a tensor that keeps n of every m. PlanError for a model that is not hardened.

    sort  the file is the one that `pack` writes with sort=True
    """
    found, maps = prepared_sites(model)
    if not all(site.transform.is_hard for site in found) or not all(site.quantizer.is_hard for site in maps):
        raise PlanError("this model is not hardened: call harden_ first")
    pruned = [site for site in found if site.transform.prunes]
    sites = [site for site in pruned if not site.transform.prune.patterns]
    if not sites:
        return 0
    given = {site.name: _mask(site.transform.prune.mask) for site in pruned if site.transform.prune.patterns}
    packing = Packing(model, example, target.values, sort=sort)
    before = [_mask(site.transform.prune.mask) for site in sites]
    scores = [site.transform.prune.score(site.original) for site in sites]
    kept = torch.cat([torch.where(mask, score, -1.0).flatten() for mask, score in zip(before, scores, strict=True)])
    order = kept.sort(descending=True, stable=True).indices
    total = sum(int(mask.sum()) for mask in before)

    def masks(cut: int) -> list[Tensor]:
        flat = torch.zeros_like(kept, dtype=torch.bool)
        flat[order[: total - cut]] = True
        parts = flat.split([mask.numel() for mask in before])
        return [part.reshape(mask.shape) for part, mask in zip(parts, before, strict=True)]

    def holds(cut: int) -> bool:
        chosen = dict(zip((site.name for site in sites), masks(cut), strict=True))
        return not packing.excess({**given, **chosen}, target)

    cut = _fewest(holds, total)
    if cut:
        for site, mask in zip(sites, masks(cut), strict=True):
            site.transform.prune.harden(torch.empty_like(site.original, dtype=torch.bool).copy_(mask))
    return cut


def _mask(mask: Tensor | None) -> Tensor:
    assert mask is not None
    return mask


def _fewest(holds: Callable[[int], bool], total: int) -> int:
    """The smallest count that holds, searched for in doubling steps and then by bisection; 0 where none does."""
    if holds(0):
        return 0
    low, high = 0, 1
    while high < total and not holds(high):
        low, high = high, 2 * high
    if high >= total:
        high = total
        if not holds(total):
            return 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
