"""The graph of a network: values with shapes, nodes in execution order. Pure data; meaning lives in `ops`.

Shapes hold integers. A positive integer is itself; a negative one, -k, stands for k times the batch size: -1 is the
batch, -4 is batch and a static 4 merged into one dimension. This is the only symbol a shape can hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Attribute = bool | int | float | str | tuple[int, ...] | None
DTYPES = ("float32", "int64", "bool")


@dataclass(frozen=True)
class ValueType:
    """Shape (see the module's note on negative sizes) and dtype (one of DTYPES) of one value."""

    shape: tuple[int, ...]
    dtype: str = "float32"

    def bind(self, batch: int) -> tuple[int, ...]:
        """The concrete shape for a batch size."""
        return tuple(size if size >= 0 else -size * batch for size in self.shape)


@dataclass(frozen=True)
class Node:
    """One operation: `output = op(*inputs, **attributes)`. `op` is a row of `ops.OPS`."""

    op: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Attribute] = field(default_factory=dict)


@dataclass(frozen=True)
class Graph:
    """A network without its numbers.

    inputs     names of the run-time inputs, in order
    outputs    names of the results, in order
    constants  names of the tensors the graph reads; an Artifact holds them under the same names
    nodes      in execution order: a node reads only inputs, constants and outputs of earlier nodes
    types      the type of every input, constant and node output
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: tuple[str, ...]
    nodes: tuple[Node, ...]
    types: Mapping[str, ValueType]

    def producers(self) -> dict[str, Node]:
        """The node that makes each value."""
        return {node.output: node for node in self.nodes}

    def consumers(self) -> dict[str, list[Node]]:
        """The nodes that read each value, in execution order; a value nobody reads has an empty list."""
        readers: dict[str, list[Node]] = {name: [] for name in self.types}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                readers[name].append(node)
        return readers
