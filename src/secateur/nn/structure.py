"""Structure while hardening: of two weights that matter alike, keep the one that shares its row and column with more.

A weight alone in its row keeps a whole unit alive: a bias, a column in the next layer, and positions that no neighbour
helps to predict. So the score of a weight is multiplied by ((others in its row + 1) (others in its column + 1))^e,
counted on what is kept. Ours; rows and columns are those of the file's coder, outputs by all else.
"""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDS = 6
"""The exponent rises to its value in so many equal steps, each counting what the step before kept."""


def structured(score: Tensor, keep: int, exponent: float) -> Tensor:
    """The mask of one tensor, `keep` weights of it; those with the largest score where exponent is 0."""
    mask = _largest(score.flatten(), keep).reshape(len(score), -1)
    logs = score.reshape(mask.shape).double().clamp_min(torch.finfo(torch.float64).tiny).log()
    for step in range(1, ROUNDS + 1):
        kept = mask.double()
        company = (kept.sum(1, keepdim=True) - kept + 1).log() + (kept.sum(0, keepdim=True) - kept + 1).log()
        mask = _largest((logs + exponent * step / ROUNDS * company).flatten(), keep).reshape(mask.shape)
    return mask.reshape(score.shape)


def _largest(scores: Tensor, keep: int) -> Tensor:
    """Ties go to the first."""
    mask = torch.zeros(len(scores), dtype=torch.bool, device=scores.device)
    mask[scores.sort(descending=True, stable=True).indices[:keep]] = True
    return mask
