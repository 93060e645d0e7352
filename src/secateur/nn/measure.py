"""Sizes of a prepared model that was not traced: its weights as `pack` would encode them, and an estimate of the rest.

No bound is possible without tracing: a forward may hold tables of numbers of its own, and as many operations as it
likes. The estimate is generous where a model is made of torch's modules; `nn.packing` knows the file.

Measured on 17 networks, the 16 of tests/nn/test_measure.py and LeNet-300-100, at densities of 0.02 to 1, as float32,
float16 and int8, half of them with 4-bit weights: 408 files of 165 bytes to 860 kB. For 24, all of one network whose
forward holds tables of numbers, the estimate was 9 to 41 % of the file too small; for 2 others 0.4 and 4 %; for the
rest too large, by 0 to 7 % for the five uncut float32 files above 5 kB, and up to 2.7 times the file where units die.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from secateur.ir.artifact import encoded_bytes
from secateur.ir.formats import from_dense, on_grid
from secateur.ir.target import VALUE_BITS
from secateur.nn.map_sites import maps_of
from secateur.nn.transform import transforms_of

FRAME_BYTES, TENSOR_BYTES = 256, 8
"""Allowance for header, sections and checksums, and what a tensor adds: its name, shape, node, and units it lost. Of
small files the first is 60 to 150, the second 3 to 7."""
ATTENTION_BYTES = 256
"""Added where a model holds attention: a module becomes thirty nodes, and masks are more. Further ones repeat them."""
STATISTICS = 2
"""Tensors that a batch norm has beside its parameters: mean and variance."""
ESTIMATED = (
    "packed_bytes was judged by an estimate, as neither example nor batches were given: the file is mostly smaller, "
    "and can be larger than the limit; with one of them the file itself is measured, and refit_ brings it to its limit"
)
"""What a result says whose limit was held to the estimate."""
SCALE_BYTES = 2
"""Of a float16 scale."""
MAP_BYTES = 32
"""Allowance for a quantized feature map: a scale, its name and a node; LeNet-300-100 takes 29, ResNet-20 13."""


@torch.no_grad()
def packed_bytes(
    model: nn.Module, masks: Mapping[str, Tensor], values: str, widths: Mapping[str, int] | None = None
) -> int:
    """Estimate of the file's bytes if exactly the weights under the masks stayed (names of `transforms_of`), before
    dead units are removed.

    widths  bits of the weights that are quantized; None: what they would be hardened to, or are
    """
    size = frame_bytes(model) + untransformed_bytes(model, values)
    for site in transforms_of(model):
        bits = None if widths is None else widths.get(site.name)
        weight = site.transform.baked(site.original, masks.get(site.name), bits).cpu().numpy()
        grid = site.transform.grid_of(bits)
        size += encoded_bytes(from_dense(weight, values) if grid is None else on_grid(weight, grid))
    return size


def frame_bytes(model: nn.Module) -> int:
    """Estimate of everything in a file that is no number: header, lengths, checksums, masks of removed units."""
    learned = _learned(model)
    tensors = sum(id(p) not in learned for p in model.parameters()) + STATISTICS * len(_norms(model))
    attention = any(isinstance(module, nn.MultiheadAttention) for module in model.modules())
    return FRAME_BYTES + TENSOR_BYTES * tensors + ATTENTION_BYTES * attention


@torch.no_grad()
def untransformed_bytes(model: nn.Module, values: str) -> int:
    """Bytes of everything no transform touches: biases, norms, kept weights, and scales of feature maps. Of a batch
    norm at least the bias that it becomes in the layer before, and a scale a channel, should that be quantized."""
    hidden = {id(site.original) for site in transforms_of(model)} | _learned(model)
    sizes = {id(p): encoded_bytes(from_dense(p.detach().float().cpu().numpy(), values))
             for p in model.parameters() if id(p) not in hidden}  # fmt: skip
    lacking = 0
    for norm in _norms(model):
        counted = sum(sizes.get(id(p), 0) for p in norm.parameters())
        lacking += max(0, norm.num_features * (VALUE_BITS[values] // 8 + SCALE_BYTES) - counted)
    return MAP_BYTES * len(maps_of(model)) + sum(sizes.values()) + lacking


def _learned(model: nn.Module) -> set[int]:
    """ids of the parameters that transforms and quantizers of maps learn, which are in no file."""
    modules = [*(site.transform for site in transforms_of(model)), *(site.quantizer for site in maps_of(model))]
    return {id(p) for module in modules for p in module.parameters()}


def _norms(model: nn.Module) -> list[_BatchNorm]:
    """Those that compute with their statistics in evaluation."""
    return [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
