"""An artifact where torch expects a module, so that a task can judge what the file really computes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from secateur.errors import ArtifactError
from secateur.ir.artifact import Artifact
from secateur.ir.execute import interpret


class Oracle(nn.Module):
    """Every forward is interpreted in numpy; several outputs come as a tuple. ArtifactError without a graph."""

    def __init__(self, artifact: Artifact) -> None:
        super().__init__()
        if artifact.graph is None:
            raise ArtifactError(f"weights alone cannot run: {artifact.meta.get('weights_only', 'no reason recorded')}")
        self.artifact = artifact

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """What the artifact gives."""
        found = interpret(self.artifact, *(tensor.detach().cpu().contiguous().numpy() for tensor in inputs))
        return tuple(map(torch.from_numpy, found)) if isinstance(found, tuple) else torch.from_numpy(found)
