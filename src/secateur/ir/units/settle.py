"""Which units are dead: remove what can go, push its constants on, look again, until nothing changes.

A unit can go when every layer that reads it either has zeros only in its columns, or finds the same constant in it
everywhere and can take that up into its bias. Nothing is cut here: dead rows and columns are only marked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from secateur.ir.units.layout import Layer, UnitFlow
from secateur.ir.units.probe import Values, constant_values

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float64, Int64

# Constants that differ by less (relative) are one constant: float32 pooling of equal numbers rounds in several ways.
ROUNDING = 8 * float(np.finfo(np.float32).eps)

PADDED = "a constant that is not zero under the padding of {}"
UNEVEN = "a constant that differs over the positions {} reads"
SPREAD = "a constant that is not zero, of which {} makes more in some places than in others"
VARYING = "not known to be constant where {} reads it"
LAST = "the last unit of its layer"


@dataclass(frozen=True, eq=False)
class Settlement:
    """What is left of a network's units.

    roots    for every unit the one that stands for all it is tied to
    alive    whether a unit stays
    hollow   whether a unit stays only because nothing else of its layer would be left; nothing needs its value
    biases   new biases (float64, all rows) by the output of each layer that took up a constant
    reasons  why units that look dead stay: root -> reason
    """

    roots: Int64[np.ndarray, " units"]
    alive: Bool[np.ndarray, " units"]
    hollow: Bool[np.ndarray, " units"]
    biases: dict[str, Float64[np.ndarray, " _"]]
    reasons: dict[int, str]


def settle(flow: UnitFlow) -> Settlement:
    """Find all units that can go. Ends after at most one round a unit; in practice one round a layer."""
    return _Settling(flow).run()


class _Settling:
    """The fixed point's state. `live[output][row, column]` says whether a layer has weights there that are not zero."""

    def __init__(self, flow: UnitFlow) -> None:
        self.flow = flow
        self.roots = flow.roots()
        self.pinned = flow.pinned()
        self.needed = np.ones(len(self.roots), dtype=bool)
        self.hollow = np.zeros(len(self.roots), dtype=bool)
        self.live: dict[str, np.ndarray] = {}
        self.biases: dict[str, np.ndarray] = {}
        self.changed: set[str] = set()
        for layer in flow.layers:
            weight = flow.constants[layer.weight]
            self.live[layer.node.output] = (layer.taps(weight) != 0).any(axis=2)
            bias = flow.constants[layer.bias] if layer.bias else np.zeros(len(layer.rows))
            self.biases[layer.node.output] = bias.astype(np.float64)

    def run(self) -> Settlement:
        while True:
            live_rows = {output: np.asarray(live.any(axis=1)) for output, live in self.live.items()}
            values = constant_values(self.flow, live_rows, self.biases)
            going, blocked = self._candidates(values)
            if not going.any():
                break
            self._remove(going, values)
            self.needed &= ~going
            self._keep_one()
        biases = {output: self.biases[output] for output in self.changed}
        texts = {root: text for root, (_, text) in blocked.items()} | self.pinned
        texts |= dict.fromkeys(np.flatnonzero(self.hollow).tolist(), LAST)
        dead = self._look_dead() | {root for root, (code, _) in blocked.items() if code}
        reasons = {root: text for root, text in texts.items() if root in dead}
        hollow = self.hollow[self.roots]
        return Settlement(self.roots, self.needed[self.roots] | hollow, hollow, biases, reasons)

    def _readers(self) -> Iterator[tuple[Layer, np.ndarray]]:
        for layer in self.flow.layers:
            if layer.columns is not None:
                yield layer, self.roots[layer.columns]

    def _candidates(self, values: Values) -> tuple[np.ndarray, dict[int, tuple[int, str]]]:
        """A mask over roots: what can go now; and for each that a reader holds back the code and text of the reason."""
        going = np.zeros(len(self.roots), dtype=bool)
        going[self.roots] = True
        going &= self.needed
        going[list(self.pinned)] = False
        blocked: dict[int, tuple[int, str]] = {}
        for layer, columns in self._readers():
            unread = ~self.live[layer.node.output].any(axis=0)
            constant, why = _constant_columns(layer, values, len(columns))
            stuck = ~unread & np.isnan(constant)
            going[columns[stuck]] = False
            for root, code in zip(columns[stuck].tolist(), why[stuck].tolist(), strict=True):
                text = (VARYING, PADDED, UNEVEN, SPREAD)[code].format(layer.name)
                blocked[root] = min(blocked.get(root, (code, text)), (code, text))
        return going, blocked

    def _keep_one(self) -> None:
        """Every value keeps at least one position: the first, hollow, wherever no unit is needed."""
        for layout in self.flow.layouts.values():
            roots = self.roots[layout.units]
            if not (self.needed[roots] | self.hollow[roots]).any():
                self.hollow[roots[0]] = True

    def _remove(self, going: np.ndarray, values: Values) -> None:
        """Mark the rows and columns of units that go as zero and move their constants into biases."""
        for layer, columns in self._readers():
            output = layer.node.output
            gone = going[columns]
            live = gone & self.live[output].any(axis=0)
            if live.any():
                constant, _ = _constant_columns(layer, values, len(columns))
                added = column_sums(layer.taps(self.flow.constants[layer.weight])[:, live]) @ constant[live]
                added[~(self.needed & ~going)[self.roots[layer.rows]]] = 0  # rows that go take up nothing
                if added.any():
                    self.biases[output] = self.biases[output] + added
                    self.changed.add(output)
            self.live[output][:, gone] = False
        for layer in self.flow.layers:
            self.live[layer.node.output][going[self.roots[layer.rows]]] = False

    def _look_dead(self) -> set[int]:
        """Roots that nothing makes (all rows zero) or nothing reads (all columns zero, of at least one)."""
        rows, made, unread, read = (np.zeros(len(self.roots), dtype=bool) for _ in range(4))
        for layer in self.flow.layers:
            rows[self.roots[layer.rows]] = True
            made[self.roots[layer.rows[self.live[layer.node.output].any(axis=1)]]] = True
        for layer, columns in self._readers():
            live = self.live[layer.node.output].any(axis=0)
            read[columns[live]] = True
            unread[columns[~live]] = True
        present = self.needed | self.hollow
        return set(np.flatnonzero(present & ((rows & ~made) | (unread & ~read))).tolist())


def _constant_columns(layer: Layer, values: Values, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """For each column the constant a layer reads there, NaN where it cannot fold one; and why not: 0 varying,
    1 padded, 2 uneven, 3 spread."""
    name = layer.node.inputs[0]
    if name not in values:
        return np.full(columns, np.nan), np.zeros(columns, dtype=int)
    axis = -1 if layer.node.op == "linear" else 1
    rows = np.moveaxis(values[name], axis, 0).reshape(columns, -1).astype(np.float64)
    with np.errstate(invalid="ignore"):
        low, high = rows.min(axis=1), rows.max(axis=1)
    largest = np.maximum(np.abs(low), np.abs(high))
    constant = (low + high) / 2
    uneven = high - low > ROUNDING * largest
    padded = (largest > 0) & is_padded(layer)
    spread = (largest > 0) & (layer.node.op == "conv_transpose")
    why = np.select([uneven, spread, padded], [2, 3, 1], 0)
    return np.where(uneven | padded, np.nan, constant), why


def is_padded(layer: Layer) -> bool:
    """Whether some outputs meet fewer taps than others: a layer reads zeros beside its input, or spreads it."""
    padding = layer.node.attributes.get("padding", ())
    assert isinstance(padding, tuple)
    return any(padding) or layer.node.op == "conv_transpose"


def column_sums(taps: Float[np.ndarray, "rows columns taps"]) -> Float64[np.ndarray, "rows columns"]:
    """What a layer adds up for a column that is one everywhere: the sum of its taps."""
    return taps.sum(axis=2, dtype=np.float64)
