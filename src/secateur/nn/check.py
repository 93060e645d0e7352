"""check(): does an artifact compute what the torch model computes?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from secateur.errors import ArtifactError
from secateur.ir.artifact import Artifact
from secateur.ir.execute import interpret
from secateur.nn.exporting import Example, as_inputs


@dataclass(frozen=True)
class Check:
    """An artifact beside a torch model on the same inputs.

    examples             batch size compared
    largest_difference   max |y_artifact - y_torch| over all outputs
    relative_difference  the same over max |y_torch|
    agreement            fraction of positions with the same arg max over the last axis
    """

    examples: int
    largest_difference: float
    relative_difference: float
    agreement: float


@torch.no_grad()
def check(artifact: Artifact, model: nn.Module, example: Example) -> Check:
    """Compare `interpret` with the model in evaluation mode; the model's mode is restored."""
    inputs = as_inputs(example)
    modes = {module: module.training for module in model.modules()}
    model.eval()
    expected = model(*inputs)
    for module, training in modes.items():
        module.training = training
    found = interpret(artifact, *(tensor.numpy() for tensor in inputs))
    pairs = list(zip(_arrays(found), _arrays(expected), strict=True))
    for ours, theirs in pairs:
        if ours.shape != theirs.shape:
            raise ArtifactError(
                f"the artifact gives {ours.shape}, the model {theirs.shape}: they are not the same network"
            )
    largest = max(float(np.abs(a - b).max(initial=0.0)) for a, b in pairs)
    scale = max(float(np.abs(b).max(initial=0.0)) for _, b in pairs)
    same = np.concatenate([(a.argmax(-1) == b.argmax(-1)).ravel() for a, b in pairs])
    return Check(len(inputs[0]), largest, largest / scale if scale else largest, float(same.mean()))


def _arrays(outputs: object) -> list[np.ndarray]:
    parts = outputs if isinstance(outputs, tuple | list) else (outputs,)
    return [part.numpy() if isinstance(part, Tensor) else np.asarray(part) for part in parts]
