"""Real sizes of a prepared model: bytes as `pack` would write them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from secateur.ir.artifact import encoded_bytes
from secateur.ir.formats import from_dense
from secateur.nn.transform import transforms_of

HEADER_BYTES = 256
"""Allowance for header, sections and checksums; LeNet-5 takes 160 bytes, a small residual network 230."""


@torch.no_grad()
def packed_bytes(model: nn.Module, masks: Mapping[str, Tensor], values: str) -> int:
    """Bytes of the file if exactly the weights under the masks stayed (names of `transforms_of`), before batch-norm
    folding and removal of dead units, which only make it smaller."""
    size = HEADER_BYTES + untransformed_bytes(model, values)
    for site in transforms_of(model):
        kept = (site.original * masks[site.name]).float().cpu().numpy()
        size += encoded_bytes(from_dense(kept, values))
    return size


@torch.no_grad()
def untransformed_bytes(model: nn.Module, values: str) -> int:
    """Bytes of everything no transform touches: biases, norms, kept weights, buffers."""
    sites = transforms_of(model)
    hidden = {id(site.original) for site in sites} | {id(p) for site in sites for p in site.transform.parameters()}
    tensors = {id(p): p for p in model.parameters() if id(p) not in hidden}
    return sum(encoded_bytes(from_dense(t.detach().float().cpu().numpy(), values)) for t in tensors.values())
