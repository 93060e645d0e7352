"""A layer's pattern, n of every m, chosen for what its weights do to its inputs: `maths.mask_search` over the groups of
`nn.grouping`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from secateur.ir.pattern import Pattern
from secateur.maths.mask_search import searched_mask
from secateur.nn.grouping import Grouping
from secateur.nn.transform import Transformed


def pattern_mask(
    site: Transformed, grams: Sequence[np.ndarray], wanted: Sequence[np.ndarray], ridges: Sequence[float]
) -> Tensor | None:
    """The mask with the pattern that a hardened weight has, of the shape of the weight, under which least squares
    leaves little; None where it has no pattern. grams, wanted and ridges: as `maths.least_squares` takes them, one a
    group of a convolution, the bias as the weight of a last input."""
    stage = site.transform.prune
    pattern = None if stage.mask is None else stage.pattern_of(stage.mask)
    if pattern is None:
        return None
    w = site.original.detach().cpu().double()
    shape = (len(w) // len(grams), *w.shape[1:])
    keep = keeping(replace(stage.grouping, shape=shape), pattern)
    found = []
    for gram, targets, ridge, part in zip(grams, wanted, ridges, w.reshape(len(grams), *shape), strict=True):
        start = part.flatten(1).numpy()
        if len(gram) > start.shape[1]:
            # The bias: least squares alone decides about it, so nothing has to hold it where it was.
            start = np.c_[start, targets[:, -1] / gram[-1, -1]]
        mask = searched_mask(gram, targets, start, keep, ridge=ridge)
        found.append(torch.from_numpy(mask[:, : math.prod(shape[1:])]).reshape(shape))
    return torch.empty_like(site.original, dtype=torch.bool).copy_(torch.cat(found))


def keeping(grouping: Grouping, pattern: Pattern) -> Callable[[np.ndarray, float], np.ndarray]:
    """(scores, done) -> the mask on the way from all weights of a group to n of them; a bias, which is the column that
    the groups do not have, stays."""

    def keep(scores: np.ndarray, done: float) -> np.ndarray:
        mask = np.ones(scores.shape, bool)
        n = max(pattern.n, round(pattern.m - (pattern.m - pattern.n) * done))
        if n < pattern.m:
            inner, also = pattern.inner, pattern.also
            fits = inner is None or n <= inner[0] * (pattern.m // inner[1])
            step = Pattern(n, pattern.m, also if fits else None, pattern.groups)
            size = math.prod(grouping.shape[1:])
            part = torch.from_numpy(scores[:, :size]).reshape(grouping.shape)
            mask[:, :size] = grouping.project(part, step).reshape(len(scores), size).numpy()
        return mask

    return keep
