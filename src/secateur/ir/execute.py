"""Run an Artifact as its definition says: `interpret` is the oracle of every faster execution."""

from __future__ import annotations

import numpy as np

from secateur.errors import ArtifactError
from secateur.ir.artifact import Artifact
from secateur.ir.interpret import run_graph


def interpret(artifact: Artifact, *inputs: np.ndarray) -> np.ndarray | tuple[np.ndarray, ...]:
    """The outputs of an artifact for numpy inputs in the graph's order: an array, or a tuple where there are several.

    Shapes and dtypes are those of `artifact.graph.types`, with any batch size where that is free. Weights are made
    dense at the first call and kept. DataError for inputs that do not fit; ArtifactError for a weights-only artifact.
    """
    if artifact.graph is None:
        reason = artifact.meta.get("weights_only", "no reason was recorded")
        raise ArtifactError(
            f"this artifact holds weights only and cannot run by itself ({reason}): "
            "put them back into their torch model with secateur.restore_(model, artifact)"
        )
    outputs = run_graph(artifact.graph, artifact.constants, inputs)
    return outputs[0] if len(outputs) == 1 else outputs
