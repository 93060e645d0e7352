"""Run an Artifact as its definition says: `interpret` is the oracle of every faster execution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from secateur.errors import ArtifactError, DataError
from secateur.ir.artifact import Artifact
from secateur.ir.effort import MAX_RUN_BYTES, MAX_RUN_SECONDS, constant_bytes
from secateur.ir.graph import Graph
from secateur.ir.integer.run import run_integers
from secateur.ir.interpret import run_graph
from secateur.ir.map_names import QUANTIZERS

ARITHMETICS = ("integer", "float")


@dataclass(frozen=True)
class NodeArithmetic:
    """How one operation runs under integer arithmetic.

    name, op    of the node: its output and operation
    arithmetic  "integer"; "quantize", which makes codes of float32; or "float", float32 on what integers stand for
    reason      why it is not integer; "" where it is
    """

    name: str
    op: str
    arithmetic: str
    reason: str


def has_maps(graph: Graph) -> bool:
    """Whether a graph holds quantized maps, so that integers are what it computes with."""
    return any(node.op in QUANTIZERS for node in graph.nodes)


def integer_layers(artifact: Artifact) -> tuple[NodeArithmetic, ...]:
    """Every operation in order: integer, or float32 and why. ArtifactError for a weights-only artifact."""
    steps = artifact.program.steps
    return tuple(NodeArithmetic(step.node.output, step.node.op, step.arithmetic, step.reason) for step in steps)


def interpret(
    artifact: Artifact,
    *inputs: np.ndarray,
    arithmetic: str | None = None,
    max_bytes: int = MAX_RUN_BYTES,
    max_seconds: float = MAX_RUN_SECONDS,
) -> np.ndarray | tuple[np.ndarray, ...]:
    """The outputs of an artifact for numpy inputs in the graph's order: an array, or a tuple where there are several.

    Shapes and dtypes are those of `artifact.graph.types`, with any batch size where that is free. Weights are made
    dense at the first call and kept. DataError for inputs that do not fit; ArtifactError for a weights-only artifact.

    arithmetic  "integer": codes, int32 sums and shifts wherever `integer_layers` says so (docs/integer.md), the default
                of a graph with quantized maps and possible for no other; "float": every operation in float32

    A stranger's file may ask for more than there is: DataError, before anything is computed, where weights, values and
    working memory would pass `max_bytes`, or a rough estimate of the time `max_seconds`.
    """
    if artifact.graph is None:
        reason = artifact.meta.get("weights_only", "no reason was recorded")
        raise ArtifactError(
            f"this artifact holds weights only and cannot run by itself ({reason}): "
            "put them back into their torch model with secateur.restore_(model, artifact)"
        )
    in_integers = _in_integers(artifact.graph, arithmetic)
    if (needed := constant_bytes(artifact.graph.types, artifact.graph.constants)) > max_bytes:
        raise DataError(f"the weights take {needed:,} bytes once dense, {max_bytes:,} are allowed: raise max_bytes")
    limits = {"max_bytes": max_bytes, "max_seconds": max_seconds}
    if in_integers:
        outputs = run_integers(artifact.program, artifact.constants, inputs, **limits)
    else:
        outputs = run_graph(artifact.graph, artifact.constants, inputs, **limits)
    return outputs[0] if len(outputs) == 1 else outputs


def _in_integers(graph: Graph, arithmetic: str | None) -> bool:
    if arithmetic is None:
        return has_maps(graph)
    if arithmetic not in ARITHMETICS:
        raise DataError(f"arithmetic is one of {', '.join(ARITHMETICS)}, not {arithmetic!r}")
    if arithmetic == "integer" and not has_maps(graph):
        raise DataError(
            "this artifact has no quantized maps, so there are no integers to compute with: use arithmetic='float', or "
            "quantize the maps of its model with plan(..., maps=Quantize(...))"
        )
    return arithmetic == "integer"
