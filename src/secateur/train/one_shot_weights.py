"""Cut a prepared model at once from its weights alone: one score a weight, the largest stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from secateur.ir.target import Target
from secateur.maths.allocation import SCORES
from secateur.nn.copying import copied
from secateur.nn.exporting import Example
from secateur.nn.harden import harden_under, noted
from secateur.nn.map_sites import maps_of
from secateur.nn.masks import MaskOptions, masks_by_score
from secateur.nn.transform import Transformed, transforms_of
from secateur.nn.widths import Widths
from secateur.train.one_shot_result import OneShot, OneShotTensor, result_of
from secateur.train.width_search import best_width


def cut_by_weights(
    model: nn.Module, target: Target, allocation: str, widths: Sequence[int], example: Example | None
) -> tuple[OneShot, nn.Module]:
    """The result and a hardened copy. widths: mean ones to choose from, none for those of the target; example: as in
    `harden_`."""

    def attempt(aim: Target) -> tuple[float, tuple[OneShot, nn.Module]]:
        cut = copied(model)
        result = _cut(cut, aim, allocation, example)
        return _lost(cut), (result, cut)

    if not widths:
        return attempt(target)[1]
    (result, cut), tried = best_width(widths, target, attempt)
    return replace(result, tried=tried), cut


def set_thresholds(sites: tuple[Transformed, ...], masks: list[Tensor]) -> None:
    """Every layer's threshold between the magnitudes that leave as many weights as its mask does."""
    for site, mask in zip(sites, masks, strict=True):
        sizes = site.original.detach().double().abs().flatten().sort(descending=True).values
        kept = int(mask.sum())
        above = float(sizes[kept - 1]) if kept else 2 * float(sizes[0])
        below = float(sizes[kept]) if kept < len(sizes) else 0.0
        site.transform.prune.set_threshold((above + below) / 2)


def as_array(w: Tensor) -> np.ndarray:
    return w.detach().double().cpu().numpy()


def _cut(model: nn.Module, target: Target, allocation: str, example: Example | None) -> OneShot:
    sites = transforms_of(model)
    pruned = tuple(site for site in sites if site.transform.prunes)
    scores = [torch.from_numpy(SCORES[allocation](as_array(site.original))) for site in pruned]
    energies = [site.original.double().square() for site in pruned]
    widths = Widths(sites, maps_of(model))
    options = MaskOptions(example=example, energies=energies, widths=widths)
    masks, _ = masks_by_score(model, pruned, scores, target, options)
    set_thresholds(pruned, masks)
    layers = tuple(OneShotTensor(site.name, "|w|") for site in pruned)
    return result_of(noted(harden_under(sites, masks, 1.0, widths), target, example), allocation, layers, 0)


def _lost(model: nn.Module) -> float:
    """Squared change of the weights of a hard model relative to their energy, summed over its tensors."""
    lost = 0.0
    for site in transforms_of(model):
        before = site.original.double()
        change = site.transform(site.original).double() - before
        lost += float(change.square().sum() / before.square().sum().clamp_min(torch.finfo(torch.float64).tiny))
    return lost
