"""An Artifact: a compressed network as one value, with or without the graph that runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from secateur.errors import ArtifactError
from secateur.ir.formats import GRAPH_DTYPE, Dense, Sparse
from secateur.ir.graph import Graph
from secateur.ir.records import Fold, UnitAxes, UnitGroup

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"


@dataclass(frozen=True)
class Artifact:
    """A compressed network.

    graph    what to compute; None = weights only, `meta["weights_only"]` then says why
    tensors  by state-dict key, in their compacted shape; the graph's constants are among them
    meta     small facts a user may read: name, creator, what was dropped
    units    groups of units of which some were removed
    axes     tensor -> axis -> (index into `units`, repeat): that axis lost the units of the group that are not kept,
             each `repeat` neighbouring elements (16 for a flattened channel of 4x4 pixels)
    folds    normalizations folded into their neighbours, in the order they were folded
    """

    graph: Graph | None
    tensors: Mapping[str, Dense | Sparse]
    meta: Mapping[str, JSON] = field(default_factory=dict)
    units: tuple[UnitGroup, ...] = ()
    axes: UnitAxes = field(default_factory=dict)
    folds: tuple[Fold, ...] = ()

    def __post_init__(self) -> None:
        for name in self.axes:
            if name not in self.tensors:
                raise ArtifactError(f"axes name a tensor {name!r} that the artifact does not hold")
            self.original_shape(name)
        if self.graph is not None:
            _check_constants(self.graph, self.tensors)

    def original_shape(self, name: str) -> tuple[int, ...]:
        """The shape a tensor had before units were removed. Raises ArtifactError where axes and units disagree."""
        shape = list(self.tensors[name].shape)
        for axis, (index, repeat) in self.axes.get(name, {}).items():
            if not (0 <= axis < len(shape) and 0 <= index < len(self.units) and repeat >= 1):
                raise ArtifactError(f"axis {axis} of {name!r} refers to unit group {index} x {repeat}: out of range")
            group = self.units[index]
            kept = int(np.count_nonzero(group.kept))
            if shape[axis] != kept * repeat:
                raise ArtifactError(
                    f"axis {axis} of {name!r} has {shape[axis]} elements, its unit group keeps {kept} x {repeat}"
                )
            shape[axis] = group.size * repeat
        return tuple(shape)


def _check_constants(graph: Graph, tensors: Mapping[str, Dense | Sparse]) -> None:
    for name in graph.constants:
        if name not in tensors:
            raise ArtifactError(f"the graph reads a constant {name!r} that the artifact does not hold")
        if name not in graph.types:
            raise ArtifactError(f"the graph gives its constant {name!r} no type")
        have, want = tensors[name], graph.types[name]
        if have.shape != want.shape or GRAPH_DTYPE[have.dtype] != want.dtype:
            stored = f"{GRAPH_DTYPE[have.dtype]} {have.shape}"
            raise ArtifactError(f"constant {name!r} is {stored}, the graph expects {want.dtype} {want.shape}")
