"""param_groups(): what an optimizer should know about a prepared model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from secateur.nn.learned_width import LearnedWidth
from secateur.nn.map_sites import maps_of, prepared_sites
from secateur.nn.norms.penalty import lagrange_norms
from secateur.nn.transform import transforms_of

THRESHOLD_LR = 1e-2
"""Step of the raw thresholds; in units of each layer's standard deviation, so one value fits all layers (measured)."""
WIDTH_LR, RANGE_LR = 1e-3, 2e-3
"""Steps of the widths' logits and of the logarithms of ranges, which have no units (measured)."""


def param_groups(
    model: nn.Module, *, weight_decay: float = 0.0, threshold_lr: float = THRESHOLD_LR
) -> list[dict[str, Any]]:
    """The groups for any torch optimizer, together every trainable parameter once. PlanError for a model that is
    neither prepared nor has LagrangeNorm layers.

    "weights"     all tensors that are not pruned, with weight_decay
    "pruned"      tensors that a transform cuts, without weight decay: decay would push kept weights into the dead zone
                  and keep moving the masked ones
    "thresholds"  alpha and beta of every transform, without weight decay, with their own learning rate `threshold_lr`
    "widths", "ranges"  where weights or feature maps are quantized: logits of the widths and logarithms of the ranges,
                  without weight decay, with their own rates WIDTH_LR and RANGE_LR
    "multipliers"  where there are LagrangeNorm layers: theirs, and trained variances, without weight decay, at the
                  weights' rate
    """
    norms = lagrange_norms(model)
    transformed, maps = (transforms_of(model), maps_of(model)) if norms else prepared_sites(model)
    pruned = _once(site.original for site in transformed if site.transform.prunes)
    thresholds = _once(p for site in transformed if site.transform.prunes for p in site.transform.prune.parameters())
    stages: list[LearnedWidth] = [
        *(site.transform.quantize for site in transformed if site.transform.quantize is not None),
        *(site.quantizer for site in maps),
    ]
    widths = _once(stage.theta for stage in stages if stage.theta is not None)
    ranges = _once(stage.log_range for stage in stages)
    multipliers = _once(p for norm in norms.values() for p in norm.constraints())
    own = {**pruned, **thresholds, **widths, **ranges, **multipliers}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in own]
    groups: list[dict[str, Any]] = [
        {"name": "weights", "params": rest, "weight_decay": weight_decay},
        {"name": "pruned", "params": list(pruned.values()), "weight_decay": 0.0},
        {"name": "thresholds", "params": list(thresholds.values()), "weight_decay": 0.0, "lr": threshold_lr},
    ]
    if stages:
        groups += [
            {"name": "widths", "params": list(widths.values()), "weight_decay": 0.0, "lr": WIDTH_LR},
            {"name": "ranges", "params": list(ranges.values()), "weight_decay": 0.0, "lr": RANGE_LR},
        ]
    if multipliers:
        groups.append({"name": "multipliers", "params": list(multipliers.values()), "weight_decay": 0.0})
    return groups


def _once(parameters: Iterable[nn.Parameter]) -> dict[int, nn.Parameter]:
    return {id(p): p for p in parameters}
