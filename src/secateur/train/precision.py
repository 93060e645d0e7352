"""The precision that forward passes of training compute in: float32, or bfloat16 where the device has it.

Weights, thresholds, losses and everything that is judged or packed stay in float32; autocast casts the
inputs and weights of matrix products and convolutions, layer by layer. Source: Micikevicius et al., "Mixed precision
training", arXiv 1710.03740, sections 3.1 and 3.3; bfloat16 has float32's range, so that no loss is scaled.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree

from secateur.errors import TrainingError
from secateur.train.task import outputs_of

FULL, HALF = "float32", "bfloat16"
PRECISIONS = (FULL, HALF)


def forward(model: nn.Module, inputs: Any, precision: str = FULL) -> Any:
    """The model on the inputs of a batch; its outputs in float32 whatever they were computed in."""
    if precision == FULL:
        return outputs_of(model, inputs)
    with torch.autocast(device_of(model), dtype=torch.bfloat16):
        outputs = outputs_of(model, inputs)
    return _pytree.tree_map_only(Tensor, _widened, outputs)


def refuse_unsupported(model: nn.Module, precision: str) -> None:
    """TrainingError where the model's device has no arithmetic in this precision, and would be slower with it."""
    device = device_of(model)
    if precision != FULL and not has_bfloat16(device):
        raise TrainingError(
            f"this {device} has no arithmetic in {precision} (a processor needs AVX-512 or Arm's BF16, better AVX-512 "
            f"BF16 or AMX; a GPU compute capability 8.0): leave precision at {FULL}"
        )


def device_of(model: nn.Module) -> str:
    """The type of the device its parameters are on; "cpu" where it has none."""
    return next((parameter.device.type for parameter in model.parameters()), "cpu")


def has_bfloat16(device: str) -> bool:
    """Whether torch computes in bfloat16 on this type of device at all well: not where it would emulate it."""
    if device == "cpu":
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return False


def _widened(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor
