"""One node as a rule sees it: what its inputs are held as, what is stored, where they go; and what a rule answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from secateur.ir.formats import Stored
from secateur.ir.graph import Attribute, Graph, Node
from secateur.ir.integer.integers import CODE_MAX, Found, Integers

IntegerArray = np.ndarray


@dataclass(frozen=True)
class Lowered:
    """How a node runs in integers: what its result is held as, and the numbers that were made for it, by name."""

    result: Integers
    parts: Mapping[str, Any] = field(default_factory=dict)


class Rule(NamedTuple):
    """lower: the node in integers, or in words why not. run: (its integer inputs, attributes for a batch, parts)."""

    lower: Callable[[Site], Lowered | str]
    run: Callable[[list[IntegerArray], Node, Lowered, int], IntegerArray]


@dataclass(frozen=True)
class Site:
    """A node among the values before it.

    tensors  the graph's constants
    held     value -> what its integers stand for; values in float32 are not there
    readers  value -> the nodes that read it
    found    value -> what its codes are whose scales are found at run time
    """

    node: Node
    graph: Graph
    tensors: Mapping[str, Stored]
    held: Mapping[str, Integers]
    readers: Mapping[str, list[Node]]
    found: Mapping[str, Found] = field(default_factory=dict)

    def attribute(self, name: str) -> Attribute:
        return self.node.attributes[name]

    def ints(self, name: str) -> tuple[int, ...]:
        value = self.node.attributes[name]
        assert isinstance(value, tuple)
        return value

    def int(self, name: str) -> int:
        value = self.node.attributes[name]
        assert isinstance(value, int)
        return value

    def shape(self, place: int) -> tuple[int, ...]:
        """Of an input."""
        return self.graph.types[self.node.inputs[place]].shape

    @property
    def output(self) -> tuple[int, ...]:
        """The result's shape."""
        return self.graph.types[self.node.output].shape

    def integers(self, place: int) -> Integers | str:
        """What an input is held as, or that it is not."""
        name = self.node.inputs[place]
        why = "whose scales are found at run time" if name in self.found else "which is float32"
        return self.held.get(name) or f"reads {name}, {why}"

    def codes(self, place: int) -> Integers | str:
        """What an input is held as where these are codes, which a layer can multiply; or why it cannot."""
        found = self.integers(place)
        if isinstance(found, str) or found.are_codes:
            return found
        name = self.node.inputs[place]
        if found.bound > CODE_MAX:
            return f"reads {name}, sums of up to {found.bound:,} that no quantizer made codes of"
        return f"reads {name}, whose codes have a scale a channel"

    def stored(self, place: int) -> Stored | None:
        """The constant that an input is, None where it is computed."""
        return self.tensors.get(self.node.inputs[place])


def scale_of(tensor: Stored) -> Fraction:
    """The scale of a map, exactly."""
    return Fraction(float(tensor.to_dense()))
