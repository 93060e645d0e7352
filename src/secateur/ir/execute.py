"""Run an Artifact as its definition says: `interpret` is the oracle of every faster execution."""

from __future__ import annotations

import numpy as np

from secateur.errors import ArtifactError, DataError
from secateur.ir.artifact import Artifact
from secateur.ir.effort import MAX_RUN_BYTES, MAX_RUN_SECONDS, constant_bytes
from secateur.ir.interpret import run_graph


def interpret(
    artifact: Artifact,
    *inputs: np.ndarray,
    max_bytes: int = MAX_RUN_BYTES,
    max_seconds: float = MAX_RUN_SECONDS,
) -> np.ndarray | tuple[np.ndarray, ...]:
    """The outputs of an artifact for numpy inputs in the graph's order: an array, or a tuple where there are several.

    Shapes and dtypes are those of `artifact.graph.types`, with any batch size where that is free. Weights are made
    dense at the first call and kept. DataError for inputs that do not fit; ArtifactError for a weights-only artifact.

    A stranger's file may ask for more than there is: DataError, before anything is computed, where weights, values and
    working memory would pass `max_bytes`, or a rough estimate of the time `max_seconds`.
    """
    if artifact.graph is None:
        reason = artifact.meta.get("weights_only", "no reason was recorded")
        raise ArtifactError(
            f"this artifact holds weights only and cannot run by itself ({reason}): "
            "put them back into their torch model with secateur.restore_(model, artifact)"
        )
    if (needed := constant_bytes(artifact.graph.types, artifact.graph.constants)) > max_bytes:
        raise DataError(f"the weights take {needed:,} bytes once dense, {max_bytes:,} are allowed: raise max_bytes")
    outputs = run_graph(artifact.graph, artifact.constants, inputs, max_bytes=max_bytes, max_seconds=max_seconds)
    return outputs[0] if len(outputs) == 1 else outputs
