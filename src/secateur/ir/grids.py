"""Grids of quantized tensors through what packing does to them: norms folded in, units removed, units in another order.

A norm multiplies every channel by a number: codes stay the same integers, and the grid gets a scale a channel. Its
sign goes to the codes, since a scale is never negative; a factor of zero leaves zeros.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from secateur.errors import ArtifactError
from secateur.ir.fold import Constants, fold_batch_norm
from secateur.ir.formats import on_grid
from secateur.ir.graph import Graph
from secateur.ir.grid import Grid
from secateur.ir.records import UnitAxes, UnitGroup

if TYPE_CHECKING:
    from jaxtyping import Float32

Grids = Mapping[str, Grid]


@dataclass(frozen=True)
class Folded:
    """Tensors and grids after norms were folded; notes name what lies on no grid any more."""

    tensors: dict[str, np.ndarray]
    grids: dict[str, Grid]
    notes: tuple[str, ...]


def fold_grids(graph: Graph, constants: Constants, folded: Constants, grids: Grids) -> Folded:
    """What `fold_batch_norm(graph, constants)` made of tensors that lie on grids: `folded`, with these tensors as codes
    times their new scales, one float32 multiplication, bit for bit.

    A scale is float16 where that holds it exactly, else float32. What a grouped transposed convolution scales by
    several axes at once has no grid any more. ArtifactError for a tensor that is not on its grid.
    """
    kept = {name: grid for name, grid in grids.items() if name in folded}
    steps = {
        name: np.array(np.broadcast_to(g.steps(constants[name].ndim), constants[name].shape))
        for name, g in kept.items()
    }
    # A norm multiplies the step between two codes as it multiplies the weights.
    scaled = fold_batch_norm(graph, {**constants, **steps})[1] if steps else {}
    tensors, found, notes = dict(folded), dict[str, Grid](), list[str]()
    for name, grid in kept.items():
        try:
            stored = on_grid(constants[name], grid)
        except ArtifactError as error:
            raise ArtifactError(f"{name}: {error}") from None
        if not np.array_equal(scaled[name], steps[name]):
            signs = np.sign(scaled[name]).astype(np.int8)
            stored_codes, new = stored.codes * signs, _grid_of(np.abs(scaled[name]), grid.bits)
            if new is None:
                notes.append(f"{name} lies on no grid once its norm is folded: its scales differ along several axes")
                continue
            stored = on_grid(new.real(stored_codes), new)
        found[name], tensors[name] = stored.grid, stored.to_dense()
    return Folded(tensors, found, tuple(notes))


def without_units(grids: Grids, groups: tuple[UnitGroup, ...], axes: UnitAxes) -> dict[str, Grid]:
    """The grids of tensors that lost units, as `dead_units.Removal` tells it."""
    found = dict(grids)
    for name in found.keys() & axes.keys():
        for axis, (group, repeat) in axes[name].items():
            found[name] = found[name].take(np.flatnonzero(groups[group].positions(repeat)), axis)
    return found


def in_order(grids: Grids, orders: Mapping[tuple[str, int], np.ndarray]) -> dict[str, Grid]:
    """The grids of tensors whose positions were taken in another order along some axes, as `sort_units` tells it."""
    found = dict(grids)
    for (name, axis), order in orders.items():
        if name in found:
            found[name] = found[name].take(order, axis)
    return found


def _steps(grid: Grid, shape: tuple[int, ...]) -> Float32[np.ndarray, ...]:
    """The step at each element."""
    return np.array(np.broadcast_to(grid.steps(len(shape)), shape))


def _grid_of(steps: Float32[np.ndarray, ...], bits: int) -> Grid | None:
    """The grid with these steps at each element; None where they differ along more than one axis."""
    for axis in range(steps.ndim):
        line = np.moveaxis(steps, axis, 0).reshape(steps.shape[axis], -1)
        if line.size and (line == line[:, :1]).all():
            scale = line[:, 0]
            narrow = scale.astype(np.float16)
            exact = np.array_equal(narrow.astype(np.float32), scale)
            return Grid(bits, narrow if exact else scale.copy(), axis)
    return None
