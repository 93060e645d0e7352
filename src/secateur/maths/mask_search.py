"""Which weights of a layer stay, and what they become, decided together on its inputs: ADMM between least squares and
the mask.

Source: Boža, "Fast and effective weight update for pruned large language models" (arXiv 2401.02938): least squares and
the mask in turns, tied by a penalty (alternating direction method of multipliers), so that one inverse serves all
steps; inputs scaled to norm 1, so that sizes of weights compare as in Sun et al. (arXiv 2306.11695); and a mask that
shrinks along a cubic over the first steps. Our reading: the objective is that of `maths.least_squares`, whose wanted
outputs may belong to other inputs than those given; who calls says which weights a mask of so many keeps, so a mask may
be n of every m; and values are not taken from here, but fitted exactly under the mask that is found.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

STEPS, SHRINKING = 30, 20
"""Of ADMM, and those of them in which the mask still shrinks; after them it is that of the last of these."""
PENALTY = 1.0
"""What ties the two to one another, in units of the scaled Gram matrix's diagonal, which is 1."""

Keep = Callable[[np.ndarray, float], np.ndarray]
"""(scores (out, n), done 0 to 1) -> the mask of as many as stay when so much of the way to the last mask is done."""


def cubic(done: float) -> float:
    """Share of the way that the mask has shrunk after a share of its steps: fast first. Source: Zhu and Gupta, "To
    prune, or not to prune" (arXiv 1710.01878), equation 1."""
    return 1 - (1 - done) ** 3


def searched_mask(
    gram: Float[np.ndarray, "n n"],
    wanted: Float[np.ndarray, "out n"],
    start: Float[np.ndarray, "out n"],
    keep: Keep,
    *,
    ridge: float,
) -> Bool[np.ndarray, "out n"]:
    """The mask under which w H w^T - 2 R w^T + ridge |w - start|^2 is small; gram is H, wanted R, start the weights
    before anything is cut, ridge > 0 in units of gram's diagonal."""
    scale = np.sqrt(np.diag(gram) + ridge)
    scaled = (gram + ridge * np.eye(len(gram))) / np.outer(scale, scale)
    inverse = np.linalg.inv(scaled + PENALTY * np.eye(len(gram)))
    target = (wanted + ridge * start) / scale
    w = start * scale
    behind = np.zeros_like(w)  # the scaled multipliers: what the mask still takes from w
    mask = np.ones(w.shape, bool)
    for step in range(STEPS):
        if step < SHRINKING:
            mask = keep(np.abs(w + behind), cubic((step + 1) / SHRINKING))
        cut = np.where(mask, w + behind, 0.0)
        behind += w - cut
        w = (target + PENALTY * (cut - behind)) @ inverse
    return mask
