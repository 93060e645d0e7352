"""Parameters that a training step does not use yet, or not any more, in data-parallel runs.

torch's DistributedDataParallel expects a gradient of every parameter in every step, and fails in the second one
otherwise. Thresholds have none after hardening, ranges and widths none before they are switched on. So in a distributed
run they get a place of weight 0 in the graph. Elsewhere they stay without a gradient: an optimizer like Adam counts
steps, and a gradient of 0 is one.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, distributed, nn


def with_place_for(unused: Iterable[nn.Parameter], x: Tensor) -> Tensor:
    """x; in a distributed run, where gradients are wanted, the same numbers with gradients of 0 for these."""
    if not (torch.is_grad_enabled() and distributed.is_available() and distributed.is_initialized()):
        return x
    for parameter in unused:
        if parameter.requires_grad:
            x = x + parameter.reshape(-1)[:0].sum()  # of nothing: 0 whatever the parameter is, infinite too
    return x
