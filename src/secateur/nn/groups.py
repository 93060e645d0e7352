"""param_groups(): what an optimizer should know about a prepared model."""

from __future__ import annotations

from typing import Any

from torch import nn

from secateur.errors import PlanError
from secateur.nn.transform import transforms_of

THRESHOLD_LR = 1e-2
"""Step of the raw thresholds; in units of each layer's standard deviation, so one value fits all layers (measured)."""


def param_groups(
    model: nn.Module, *, weight_decay: float = 0.0, threshold_lr: float = THRESHOLD_LR
) -> list[dict[str, Any]]:
    """Three groups for any torch optimizer, together every trainable parameter once.

    "weights"     kept tensors, with weight_decay
    "pruned"      tensors under a transform, without weight decay: decay would push kept weights into the dead zone and
                  keep moving the masked ones
    "thresholds"  alpha and beta of every transform, without weight decay, with their own learning rate `threshold_lr`
    """
    transformed = transforms_of(model)
    if not transformed:
        raise PlanError("this model is not prepared: call prepare_(model, plan) first")
    pruned = {id(site.original): site.original for site in transformed}
    thresholds = {id(p): p for site in transformed for p in site.transform.parameters()}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in pruned and id(p) not in thresholds]
    return [
        {"name": "weights", "params": rest, "weight_decay": weight_decay},
        {"name": "pruned", "params": list(pruned.values()), "weight_decay": 0.0},
        {"name": "thresholds", "params": list(thresholds.values()), "weight_decay": 0.0, "lr": threshold_lr},
    ]
