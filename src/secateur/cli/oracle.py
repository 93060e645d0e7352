"""An artifact where torch expects a module, so that a task can judge what the file really computes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from secateur.errors import ArtifactError, DataError
from secateur.ir.artifact import Artifact
from secateur.ir.effort import MAX_RUN_BYTES, MAX_RUN_SECONDS, fixed_batch
from secateur.ir.execute import interpret


class Oracle(nn.Module):
    """Every forward is interpreted in numpy; several outputs come as a tuple. ArtifactError without a graph, DataError
    for a batch beyond the limits of `interpret`. Where its batch is fixed, such batches run in turn."""

    def __init__(
        self, artifact: Artifact, *, max_bytes: int = MAX_RUN_BYTES, max_seconds: float = MAX_RUN_SECONDS
    ) -> None:
        super().__init__()
        if artifact.graph is None:
            raise ArtifactError(f"weights alone cannot run: {artifact.meta.get('weights_only', 'no reason recorded')}")
        self.artifact, self.max_bytes, self.max_seconds = artifact, max_bytes, max_seconds

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """What the artifact gives."""
        assert self.artifact.graph is not None
        fixed, batch = fixed_batch(self.artifact.graph), len(inputs[0])
        if fixed is None or fixed == batch:
            return self._run(inputs)
        if batch % fixed:
            raise DataError(f"this artifact runs batches of {fixed} alone, which a batch of {batch} does not fall into")
        parts = [self._run(part) for part in zip(*(tensor.split(fixed) for tensor in inputs), strict=True)]
        if isinstance(parts[0], Tensor):
            return torch.cat([part for part in parts if isinstance(part, Tensor)])
        return tuple(map(torch.cat, zip(*parts, strict=True)))

    def _run(self, inputs: Sequence[Tensor]) -> Tensor | tuple[Tensor, ...]:
        plain = (tensor.float() if tensor.is_floating_point() else tensor for tensor in inputs)
        arrays = (tensor.detach().cpu().contiguous().numpy() for tensor in plain)
        found = interpret(self.artifact, *arrays, max_bytes=self.max_bytes, max_seconds=self.max_seconds)
        return tuple(map(torch.from_numpy, found)) if isinstance(found, tuple) else torch.from_numpy(found)
