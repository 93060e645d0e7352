"""What packing did to the tensors of a model, as data: which units it removed and which norms it folded.

An Artifact keeps these records so that its tensors can be put back into the model they came from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from secateur.errors import ArtifactError, GraphError

if TYPE_CHECKING:
    from jaxtyping import Bool

# tensor name -> axis -> (index of the unit group, consecutive positions of the axis that belong to one unit)
UnitAxes = Mapping[str, Mapping[int, tuple[int, int]]]


@dataclass(frozen=True, eq=False)
class UnitGroup:
    """Units (channels, neurons) that tensors share along an axis, in original order.

    kept  bool of shape (size,), True where a unit stays; GraphError for anything else
    """

    size: int
    kept: np.ndarray

    def __post_init__(self) -> None:
        if self.kept.dtype != np.bool_ or self.kept.shape != (self.size,):
            raise GraphError(
                f"a unit group of {self.size} units needs a bool mask of shape ({self.size},), "
                f"not {self.kept.dtype} of shape {self.kept.shape}"
            )

    @cached_property
    def kept_units(self) -> int:
        """How many units stay; counted once, since many tensors ask."""
        return int(np.count_nonzero(self.kept))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UnitGroup) and np.array_equal(self.kept, other.kept)

    def __hash__(self) -> int:
        return hash(self.kept.tobytes())

    def positions(self, repeat: int) -> Bool[np.ndarray, " positions"]:
        """The mask of an axis on which every unit owns `repeat` consecutive positions."""
        return np.repeat(self.kept, repeat)


@dataclass(frozen=True)
class Fold:
    """Batch norm `norm` was folded into layer `into` (module names both); `eps` is what the norm added to variances."""

    norm: str
    into: str
    eps: float


def restore_units(
    tensors: Mapping[str, np.ndarray], groups: tuple[UnitGroup, ...], axes: UnitAxes
) -> dict[str, np.ndarray]:
    """Scatter compacted tensors to their original shapes, zeros where a unit was removed.

    A tensor that `axes` does not name is passed on as it is. Raises ArtifactError when a tensor does not fit.
    """
    return {name: _scatter(name, tensor, groups, axes.get(name, {})) for name, tensor in tensors.items()}


def _scatter(
    name: str, tensor: np.ndarray, groups: tuple[UnitGroup, ...], axes: Mapping[int, tuple[int, int]]
) -> np.ndarray:
    for axis, (group, repeat) in axes.items():
        if not (0 <= axis < tensor.ndim and 0 <= group < len(groups) and repeat >= 1):
            raise ArtifactError(
                f"the record of {name}'s units names axis {axis}, group {group}, repeat {repeat}, but the tensor has "
                f"{tensor.ndim} axes and there are {len(groups)} groups: pack the model again"
            )
        mask = groups[group].positions(repeat)
        if tensor.shape[axis] != np.count_nonzero(mask):
            raise ArtifactError(
                f"{name} holds {tensor.shape[axis]} positions on axis {axis}, its unit group keeps "
                f"{np.count_nonzero(mask)}: tensors and record come from different packs; take both from one Artifact"
            )
        shape = (*tensor.shape[:axis], mask.size, *tensor.shape[axis + 1 :])
        whole = np.zeros(shape, tensor.dtype)
        whole[(slice(None),) * axis + (mask,)] = tensor
        tensor = whole
    return tensor
