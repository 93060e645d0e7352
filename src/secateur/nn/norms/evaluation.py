"""What a model gives in evaluation, and how far two such results may be apart where only rounding differs."""

from __future__ import annotations

from dataclasses import is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from secateur.errors import PlanError
from secateur.nn.fx_graph import TRACING_ERRORS, fresh, place_of
from secateur.nn.mode_kept import mode_kept


@torch.no_grad()
def evaluated(model: nn.Module, inputs: tuple[Any, ...]) -> Any:
    """The model's outputs in evaluation mode. Inputs, the model's mode and the random number generators stay as they
    are, so that a second call computes with the same numbers. PlanError where the model does not take the inputs."""
    devices = {tensor.device for tensor in model.parameters() if tensor.device.type == "cuda"}
    try:
        with mode_kept(model), torch.random.fork_rng(devices):
            return model.eval()(*fresh(inputs))
    except TRACING_ERRORS as error:
        raise PlanError(
            f"the model does not compute with these inputs{place_of(error)}: {error}; give what it takes"
        ) from error


def rounding(model: nn.Module, outputs: Any) -> float:
    """How far outputs may be apart, relative to the largest, where weights were rounded anew: the square root of the
    coarsest precision there is (float32: 3.5e-4), far above what a deep network makes of it and far below a mistake."""
    tensors = (*model.parameters(), *(leaf for leaf in pytree.tree_leaves(_parts(outputs)) if isinstance(leaf, Tensor)))
    return max((torch.finfo(t.dtype).eps for t in tensors if t.is_floating_point()), default=0.0) ** 0.5


def _parts(outputs: Any) -> Any:
    """Outputs that torch can take apart, where a model returns a dataclass."""
    return vars(outputs) if is_dataclass(outputs) and not isinstance(outputs, dict) else outputs
