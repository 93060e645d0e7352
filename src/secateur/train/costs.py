"""What a prepared model costs, differentiably, in the units of a Target. One row a unit in COSTS."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from secateur.ir.target import Target
from secateur.nn.measure import HEADER_BYTES, untransformed_bytes
from secateur.nn.transform import Transformed


@dataclass(frozen=True)
class Layers:
    """What the costs need to know of a prepared model. counts: expected non-zeros, one scalar a site,
    differentiable."""

    sites: tuple[Transformed, ...]
    counts: tuple[Tensor, ...]
    fixed_bytes: int
    value_bits: int


def density(layers: Layers) -> Tensor:
    """Expected fraction of weights that stay, over all pruned tensors."""
    return torch.stack(layers.counts).sum() / sum(site.original.numel() for site in layers.sites)


def macs(layers: Layers) -> Tensor:
    """Expected multiply-accumulates for one example that touch a non-zero weight."""
    return sum(
        (count * site.transform.row.reuse for site, count in zip(layers.sites, layers.counts, strict=True)),
        torch.zeros(()),
    )


def packed_bytes(layers: Layers) -> Tensor:
    """Upper bound on the file's bytes: fixed part + sum N d (log2(e/d) + value bits) / 8, monotone in every density d
    (`maths.threshold.packed_bits_bound`)."""
    bits = torch.zeros(())
    for site, count in zip(layers.sites, layers.counts, strict=True):
        size = site.original.numel()
        d = (count / size).clamp_min(0.5 / size)
        bits = bits + size * d * (math.log2(math.e) - d.log2() + layers.value_bits)
    return layers.fixed_bytes + bits / 8


COSTS: dict[str, Callable[[Layers], Tensor]] = {"density": density, "macs": macs, "packed_bytes": packed_bytes}
"""Wish of a Target -> its differentiable cost."""


def fixed_bytes(model: nn.Module, target: Target) -> int:
    """The part of the file pruning cannot change."""
    return 0 if target.packed_bytes is None else HEADER_BYTES + untransformed_bytes(model, target.values)
