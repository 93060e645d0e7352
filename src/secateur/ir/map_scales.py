"""Scales of quantized maps: constants of a graph whose numbers decide what its integers mean, so they are checked."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from secateur.errors import ArtifactError
from secateur.ir.formats import Stored
from secateur.ir.graph import Graph
from secateur.ir.map_names import QUANTIZERS


def check_map_scales(graph: Graph, tensors: Mapping[str, Stored]) -> None:
    """ArtifactError unless the scale of every quantized map is stored, and one positive, finite float16 number."""
    constants = frozenset(graph.constants)
    for node in graph.nodes:
        if node.op not in QUANTIZERS:
            continue
        for name in node.inputs[1:]:
            if name not in constants:
                raise ArtifactError(f"the scale of {node.output!r} is computed, by {name!r}: store it as a constant")
            if tensors[name].shape != ():
                raise ArtifactError(f"the scale {name!r} of a map is one number, not {tensors[name].shape}")
            if not _is_scale(tensors[name].to_dense()):
                raise ArtifactError(
                    f"the scale {name!r} of a map is {tensors[name].to_dense():.6g}: it must be positive, finite and a "
                    "float16 number, as harden_ makes it"
                )


def _is_scale(scale: np.ndarray) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.isfinite(scale) and scale > 0 and np.float32(np.float16(scale)) == scale)
