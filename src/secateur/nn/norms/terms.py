"""What constraints add to a loss, with gradients in closed form: one number a constraint, of any number of layers.

Per channel of a layer, with the constraints c = mu and c = v - s, r = rho / channels and multipliers m in units of r
(our reading of US20200097829A1):

    augmented, running    r (m c + c^2 / 2)
    squared               r m c^2                  as published

where constraints beyond +-FAR count by their logarithm, of equal value and slope there, and c^2 / 2 grows linearly
beyond FAR: so the pull on the scale of a layer has a bound.

Why r is a share: early layers scale the variances of all later ones, so that the penalty curves most where they move
together. For 12 convolutions in a row on 28 x 28 images its largest curvature was 520 with rho a channel, and descent
with momentum 0.9 diverges beyond a rate of 3.8 / 520; with rho a layer it is 12.

The gradient in m is -ASCENT r clamp(c, +-1), of "squared" -ASCENT r min(c^2, 1), and 0 where m is at its limit and
would go on: descent by the weights' optimizer, at the weights' rate and momentum, is the multipliers' ascent, as fast
as damps the slowest channel best.
"""

from __future__ import annotations

import torch
from torch import Tensor

from secateur.kernels.norm_terms import Bounds
from secateur.nn.generated import norm_terms, norm_terms_for

FAR = 3.0
"""Constraints further off than this count by their logarithm."""
LIMIT = 10.0
"""Multipliers count as within +-LIMIT, and gain nothing beyond."""
ASCENT = 0.5
"""Of a multiplier, by a constraint of 1, in units of r and the weights' rate."""
BOUNDS = {squared: Bounds(FAR, LIMIT, ASCENT, squared) for squared in (False, True)}


@torch.no_grad()
def terms(numbers: tuple[Tensor, Tensor, Tensor, Tensor], *, squared: bool) -> tuple[float, Tensor]:
    """The sum of the terms, and its gradients in moments and multipliers, (2, *shape).

    numbers: moments, multipliers, what is wanted (0 and s) and r, of one shape, dtype and device. The gradient in what
    is wanted is minus that in the moments. Not recorded by autograd.
    """
    if (code := norm_terms_for(numbers[0], BOUNDS[squared])) is not None:
        return norm_terms(code, numbers)
    moments, multipliers, wanted, weights = numbers
    apart, low = moments - wanted, 0.0 if squared else -LIMIT
    size, m = apart.abs(), multipliers.clamp(low, LIMIT)
    beyond = size.div(FAR).clamp_min(1.0)
    c = (size.clamp_max(FAR) + FAR * beyond.log()).copysign(apart)
    if squared:
        value, slope = c.square(), 2 * m * c
        total = m * value
    else:
        near, value = c.clamp(-FAR, FAR), c
        slope, total = m + near, m * c + near * (c - near / 2)
    gain = value.clamp(-1, 1)
    gain = torch.where(multipliers >= LIMIT, gain.clamp_max(0), gain)
    gain = torch.where(multipliers <= low, gain.clamp_min(0), gain)
    return (weights * total).sum().item(), torch.stack([slope / beyond * weights, -ASCENT * gain * weights])
