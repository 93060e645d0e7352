"""Where units live: which axis of which value or tensor they lie on, which are tied, which must stay.

Two units are tied when no one can be removed without the other: the two branches of an addition, a channel before and
after a depthwise convolution. Ties are a union-find forest (Galler and Fisher, "An improved equivalence algorithm",
CACM 1964); a unit that anything unknown looks at is pinned and stays for good.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from secateur.ir.graph import Graph, Node
from secateur.ir.naming import module_of

if TYPE_CHECKING:
    from jaxtyping import Float, Int64

Constants = Mapping[str, np.ndarray]
LAYERS = ("conv", "conv_transpose", "linear")
"""Ops that make units: every output channel is a sum of products plus a bias."""
Units: TypeAlias = 'Int64[np.ndarray, " _"]'


@dataclass(frozen=True, eq=False)
class Layout:
    """The units of one value: `units[i]` lies at position i of `axis`; neighbours may belong to the same unit."""

    axis: int
    units: Units


@dataclass(frozen=True, eq=False)
class Layer:
    """A conv, conv_transpose or linear: it makes `rows` (axis 0 of its weight) and reads `columns` (axis 1); the weight
    of a conv_transpose is the other way round.

    columns is None where the input has no units; a depthwise layer reads its own rows, so it has no columns either.
    """

    node: Node
    rows: Units
    columns: Units | None = None
    depthwise: bool = False

    @property
    def row_axis(self) -> int:
        """The axis of the weight on which the rows lie."""
        return 0 if self.depthwise or self.node.op != "conv_transpose" else 1

    @property
    def column_axis(self) -> int:
        """The axis of the weight on which the columns lie."""
        return 1 - self.row_axis

    def taps(self, weight: Float[np.ndarray, "*_"]) -> Float[np.ndarray, "rows columns taps"]:
        """The weight's elements by row and column (a grouped layer's by row and place within its group)."""
        rows, groups = len(self.rows), self.node.attributes.get("groups")
        if self.node.op != "conv_transpose" or self.depthwise:
            return weight.reshape(*weight.shape[:2], -1)
        assert isinstance(groups, int)
        grouped = weight.reshape(groups, weight.shape[0] // groups, rows // groups, -1)
        return grouped.swapaxes(1, 2).reshape(rows, weight.shape[0] // groups, -1)

    @property
    def name(self) -> str:
        """The module's name."""
        return module_of(self.node.inputs[1])

    @property
    def weight(self) -> str:
        """The weight's name."""
        return self.node.inputs[1]

    @property
    def bias(self) -> str | None:
        """The bias' name, None where there is none."""
        return self.node.inputs[2] if len(self.node.inputs) == 3 else None


@dataclass
class UnitFlow:
    """What tracing the units of a graph finds out; `rules.trace_units` fills it, everything after only reads it.

    layouts  the units of every value that has some
    axes     tensor -> axis -> its units: what to cut when a unit goes
    layers   every layer, in execution order
    """

    graph: Graph
    constants: Constants
    layouts: dict[str, Layout] = field(default_factory=dict)
    axes: dict[str, dict[int, Units]] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)
    _parents: list[int] = field(default_factory=list)
    _pins: list[tuple[Units, str]] = field(default_factory=list)
    _reads: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._reads.update(name for node in self.graph.nodes for name in node.inputs)
        self._reads.update(self.graph.outputs)

    def fresh(self, count: int) -> Units:
        """New units, tied to nothing."""
        first = len(self._parents)
        self._parents.extend(range(first, first + count))
        return np.arange(first, first + count)

    def tie(self, left: Units, right: Units) -> None:
        """From now on the units at the same positions go together or not at all."""
        for one, other in zip(left.tolist(), right.tolist(), strict=True):
            self._parents[self._root(one)] = self._root(other)

    def pin(self, units: Units, reason: str) -> None:
        """These units stay, because of `reason`."""
        self._pins.append((units, reason))

    def is_private(self, tensor: str) -> bool:
        """Whether a name is a constant that exactly one input of one node reads: only then may a rewrite change it."""
        return tensor in self.constants and self._reads[tensor] == 1

    def lay(self, tensor: str, axis: int, units: Units) -> None:
        """`units` lie on an axis of a constant; pinned where the tensor is shared or holds something not finite."""
        if not self.is_private(tensor):
            self.pin(units, f"{tensor} is shared or computed")
            return
        self.axes.setdefault(tensor, {})[axis] = units
        array = self.constants[tensor]
        finite = np.isfinite(array).all(axis=tuple(other for other in range(array.ndim) if other != axis))
        self.pin(units[~finite], f"{tensor} is not finite there")

    def roots(self) -> Units:
        """For every unit the one that stands for all it is tied to."""
        return np.array([self._root(unit) for unit in range(len(self._parents))], dtype=np.int64)

    def pinned(self) -> dict[int, str]:
        """The root of every pinned unit, with the first reason found."""
        reasons: dict[int, str] = {}
        for units, reason in self._pins:
            for unit in units.tolist():
                reasons.setdefault(self._root(unit), reason)
        return reasons

    def _root(self, unit: int) -> int:
        parents = self._parents
        while parents[unit] != unit:
            parents[unit] = parents[parents[unit]]
            unit = parents[unit]
        return unit
