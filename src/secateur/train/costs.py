"""What a prepared model costs, differentiably, in the units of a Target. One row a unit in COSTS."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from secateur.ir.target import Target
from secateur.nn.bit_operations import bit_operations as total_of
from secateur.nn.bit_operations import read_by
from secateur.nn.map_sites import MapSite
from secateur.nn.measure import SCALE_BYTES, frame_bytes, untransformed_bytes
from secateur.nn.measure import packed_bytes as measured_bytes
from secateur.nn.packing import Packing
from secateur.nn.transform import Transformed, transforms_of


@dataclass(frozen=True)
class Layers:
    """What the costs need to know of a prepared model: one scalar a site, differentiable.

    counts    expected non-zeros
    bits      expected bits of a non-zero's value
    maps      quantized feature maps; map_bits: expected bits of a value of each
    coded     bytes a file takes for what the bound calls one byte: 1, or what was measured
    """

    sites: tuple[Transformed, ...]
    counts: tuple[Tensor, ...]
    bits: tuple[Tensor, ...]
    fixed_bytes: int
    coded: float = 1.0
    maps: tuple[MapSite, ...] = ()
    map_bits: tuple[Tensor, ...] = ()

    @classmethod
    def of(
        cls,
        sites: tuple[Transformed, ...],
        fixed_bytes: int,
        value_bits: int,
        coded: float = 1.0,
        maps: tuple[MapSite, ...] = (),
    ) -> Layers:
        """As the sites are now. value_bits: of what is not quantized."""
        bits = tuple(
            torch.tensor(float(value_bits)) if stage is None else stage.expected_bits()
            for stage in (site.transform.quantize for site in sites)
        )
        counts = tuple(_count(site) for site in sites)
        return cls(sites, counts, bits, fixed_bytes, coded, maps, tuple(one.quantizer.expected_bits() for one in maps))


def _count(site: Transformed) -> Tensor:
    """Where the plan gives a tensor its pattern, how many weights it keeps is no business of a target's."""
    count = site.count()
    return count.detach() if site.transform.prunes and site.transform.prune.is_fixed else count


def density(layers: Layers) -> Tensor:
    """Expected fraction of weights that stay, over all pruned tensors."""
    rows = zip(layers.sites, layers.counts, strict=True)
    pruned = [(site.original.numel(), count) for site, count in rows if site.transform.prunes]
    return torch.stack([count for _, count in pruned]).sum() / sum(size for size, _ in pruned)


def macs(layers: Layers) -> Tensor:
    """Expected multiply-accumulates for one example that touch a non-zero weight."""
    return sum(
        (count * site.transform.row.reuse for site, count in zip(layers.sites, layers.counts, strict=True)),
        torch.zeros(()),
    )


def packed_bytes(layers: Layers) -> Tensor:
    """Estimate of the file's bytes: fixed part + sum N d (log2(e/d) + bits of a value) / 8, monotone in every
    density d (`maths.threshold.packed_bits_bound`) and width; of a tensor that is not pruned sum N bits / 8."""
    total = torch.zeros(())
    for site, count, bits in zip(layers.sites, layers.counts, layers.bits, strict=True):
        size = site.original.numel()
        d = (count / size).clamp_min(0.5 / size)
        place = math.log2(math.e) - d.log2() if site.transform.prunes else 0.0
        total = total + size * d * (place + bits)
    return layers.fixed_bytes + layers.coded * total / 8


@torch.no_grad()
def coded(
    model: nn.Module, sites: tuple[Transformed, ...], fixed: int, target: Target, packing: Packing | None = None
) -> tuple[int, float]:
    """What a file would take now, hardened by the learned thresholds and the most probable widths: bytes beside those
    of the weights, and bytes of the weights for every byte of the bound on them. Weights lie closer together than
    chance has it, codes are not all alike frequent, and weights and biases of dead units go.

    fixed    bytes beside those of the weights, where nothing is known of dead units
    packing  of the model as it is now, which knows of them; None: nothing is known
    """
    masks = {site.name: site.transform.survivors(site.original) != 0 for site in sites if site.transform.prunes}
    counts = tuple(masks[site.name].sum().float() if site.name in masks else site.count() for site in sites)
    stages = [site.transform.quantize for site in sites]
    bits = tuple(torch.tensor(float(target.value_bits if stage is None else stage.width())) for stage in stages)
    bound = float(packed_bytes(Layers(sites, counts, bits, 0)))
    if packing is None:
        whole = measured_bytes(model, masks, target.values)
        weights = whole - fixed
    else:
        whole, weights = packing.parts(masks)
    return (whole - weights, weights / bound) if weights and bound else (fixed, 1.0)


def average_bits(layers: Layers) -> Tensor:
    """Expected bits of a kept weight in quantized tensors. A constraint on the widths alone: how many weights each
    tensor keeps enters as a number without a gradient."""
    rows = zip(layers.sites, layers.counts, layers.bits, strict=True)
    quantized = [(count.detach(), bits) for site, count, bits in rows if site.transform.quantize is not None]
    total = sum((count * bits for count, bits in quantized), torch.zeros(()))
    return total / sum((count for count, _ in quantized), torch.zeros(())).clamp_min(1.0)


def bit_operations(layers: Layers) -> Tensor:
    """Expected bit operations for one example (`nn.bit_operations`)."""
    rows = {site.name: site.transform.row for site in layers.sites}
    figures = tuple(zip(layers.sites, layers.counts, layers.bits, strict=True))
    macs = {site.name: count * site.transform.row.reuse for site, count, _ in figures}
    bits = {site.name: bits for site, _, bits in figures if site.transform.quantize is not None}
    by_map = {site.name: bits for site, bits in zip(layers.maps, layers.map_bits, strict=True)}
    return total_of(macs, bits, by_map, read_by(rows, [site.row for site in layers.maps]))


def largest_map_bytes(layers: Layers) -> Tensor:
    """Expected bytes of the largest quantized feature map for one example."""
    pairs = zip(layers.maps, layers.map_bits, strict=True)
    return max((site.quantizer.elements * bits / 8 for site, bits in pairs), key=Tensor.detach, default=torch.zeros(()))


COSTS: dict[str, Callable[[Layers], Tensor]] = {
    "density": density,
    "macs": macs,
    "packed_bytes": packed_bytes,
    "average_bits": average_bits,
    "bit_operations": bit_operations,
    "largest_map_bytes": largest_map_bytes,
}
"""Wish of a Target -> its differentiable cost."""


def fixed_bytes(model: nn.Module, target: Target) -> int:
    """The part of the file neither pruning nor widths can change."""
    if target.packed_bytes is None:
        return 0
    stages = (site.transform.quantize for site in transforms_of(model))
    scales = sum(SCALE_BYTES * stage.log_range.numel() for stage in stages if stage is not None)
    return frame_bytes(model) + untransformed_bytes(model, target.values) + scales
