"""Real sizes of a prepared model: bytes as `pack` would write them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from secateur.ir.artifact import encoded_bytes
from secateur.ir.formats import from_dense, on_grid
from secateur.nn.map_sites import maps_of
from secateur.nn.transform import transforms_of

HEADER_BYTES = 256
"""Allowance for header, sections and checksums; LeNet-5 takes 160 bytes, a small residual network 230."""
MAP_BYTES = 32
"""Allowance for a quantized feature map: a scale, its name and a node; LeNet-300-100 takes 29, ResNet-20 13."""


@torch.no_grad()
def packed_bytes(
    model: nn.Module, masks: Mapping[str, Tensor], values: str, widths: Mapping[str, int] | None = None
) -> int:
    """Bytes of the file if exactly the weights under the masks stayed (names of `transforms_of`), before batch-norm
    folding and removal of dead units, which only make it smaller.

    widths  bits of the weights that are quantized; None: what they would be hardened to, or are
    """
    size = HEADER_BYTES + untransformed_bytes(model, values)
    for site in transforms_of(model):
        bits = None if widths is None else widths.get(site.name)
        weight = site.transform.baked(site.original, masks.get(site.name), bits).cpu().numpy()
        grid = site.transform.grid_of(bits)
        size += encoded_bytes(from_dense(weight, values) if grid is None else on_grid(weight, grid))
    return size


@torch.no_grad()
def untransformed_bytes(model: nn.Module, values: str) -> int:
    """Bytes of everything no transform touches: biases, norms, kept weights, buffers, and scales of feature maps."""
    sites = transforms_of(model)
    learned = [*(site.transform for site in sites), *(site.quantizer for site in maps_of(model))]
    hidden = {id(site.original) for site in sites} | {id(p) for module in learned for p in module.parameters()}
    tensors = {id(p): p for p in model.parameters() if id(p) not in hidden}
    told = MAP_BYTES * len(maps_of(model))
    return told + sum(encoded_bytes(from_dense(t.detach().float().cpu().numpy(), values)) for t in tensors.values())
