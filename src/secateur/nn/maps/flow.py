"""How values flow through a traced model: by what they are made, who reads them, whether they can be negative."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx

from secateur.ir.plan_rows import INPUT, OWN
from secateur.nn.fx_graph import Calls, watched
from secateur.nn.maps.operations import (
    FACTS,
    KEEPS_GRID,
    KEEPS_SIGN,
    NOT_NEGATIVE,
    called,
    function_of,
    operands,
    read_as_floats,
    source_of,
    word_of,
)

PARAMETER, BUFFER = OWN
"""What makes a tensor of the model itself where a sum or the like reads it as a map."""

BY_VALUE = frozenset({"", "add", "relu", "positive", "identity", "dropout"})
"""Words of what may make every value of the values at its place."""

UNSIGNED = frozenset({torch.bool, torch.uint8, torch.uint16, torch.uint32, torch.uint64})


@dataclass(frozen=True)
class Value:
    """What a tensor looked like on the example."""

    shape: tuple[int, ...]
    is_real: bool
    is_finite: bool
    has_sign: bool
    """Whether numbers of its type can be negative. Whether these are would prove nothing of others."""

    @classmethod
    def of(cls, value: Tensor) -> Value:
        """Look at a tensor."""
        finite = bool(torch.isfinite(value).all())
        return cls(tuple(value.shape), value.is_floating_point(), finite, value.dtype not in UNSIGNED)


class Flow:
    """A traced model that was run once on an example.

    words  node -> what its call is to maps (`operations`)
    seen   node -> what its tensor looked like; nodes of anything else are not in it
    fixed  nodes whose values depend on no input
    batch  of the example
    """

    def __init__(self, calls: Calls, inputs: tuple[Any, ...]) -> None:
        self.module, self.batch = calls.module, int(inputs[0].shape[0])
        self.nodes: list[fx.Node] = list(calls.module.graph.nodes)
        self.words = {node: word_of(node, calls.module) for node in self.nodes}
        with torch.no_grad():
            self.seen = watched(calls.module, inputs, Value.of)
        self.fixed: set[fx.Node] = set()
        for node in self.nodes:
            if node.op == "get_attr" or (node.op != "placeholder" and self.fixed.issuperset(node.all_input_nodes)):
                self.fixed.add(node)

    def is_real(self, node: fx.Node) -> bool:
        """Whether a node gives one tensor of floating-point numbers."""
        return node in self.seen and self.seen[node].is_real

    def is_number(self, node: fx.Node) -> bool:
        """Whether a tensor is no map but one number for all examples."""
        shape = self.seen[node].shape
        return not shape or (node in self.fixed and torch.Size(shape).numel() == 1)

    def maker(self, node: fx.Node) -> fx.Node:
        """Back through what keeps a grid to where the value is made."""
        while self.words[node] in KEEPS_GRID:
            source = source_of(node)
            if source is None or (source not in self.seen and self.words[source] not in KEEPS_GRID):
                break
            node = source
        return node

    def readers(self, node: fx.Node) -> set[fx.Node]:
        """Who reads a value, directly or behind what keeps its grid."""
        found: set[fx.Node] = set()
        behind = [node]
        while behind:
            for user in behind.pop().users:
                if self.words[user] in KEEPS_GRID:
                    behind.append(user)
                elif self.words[user] != FACTS:
                    found.add(user)
        return found

    @cached_property
    def sources(self) -> dict[fx.Node, fx.Node]:
        """Node -> the one that alone decides its value, value by value; else itself."""
        found: dict[fx.Node, fx.Node] = {}
        for node in self.nodes:
            read = [part for part in node.all_input_nodes if part in self.seen and part not in self.fixed]
            decide = {found[part] for part in read}
            alike = node in self.seen and all(self.seen[part].shape == self.seen[node].shape for part in read)
            one = len(decide) == 1 and alike and self._is_by_value(node)
            found[node] = decide.pop() if one else node
        return found

    def _is_by_value(self, node: fx.Node) -> bool:
        module = called(node, self.module)
        mixes = module is not None and any(p.dim() > 1 for p in module.parameters())
        return self.words[node] in BY_VALUE and not mixes and read_as_floats(node, self.module)[1] != 1

    @cached_property
    def signed(self) -> dict[fx.Node, bool]:
        """Node -> whether its value can be negative. An input can, whatever the example holds, unless by its type."""
        signs: dict[fx.Node, bool] = {}
        for node in self.nodes:
            word = self.words[node]
            reads = operands(node, word) if word in KEEPS_SIGN else []
            if node.op == "placeholder":
                signs[node] = node not in self.seen or self.seen[node].has_sign
            elif reads:
                numbers = [part for part in (*node.args, *node.kwargs.values()) if isinstance(part, int | float)]
                signs[node] = any(signs[part] for part in reads) or (word == "add" and min(numbers, default=0) < 0)
            else:
                signs[node] = word not in NOT_NEGATIVE
        return signs

    def shape(self, node: fx.Node) -> tuple[int, ...]:
        """The shape for one example; of what no input changes, the whole shape; of several results, the first one's."""
        if node not in self.seen:
            picked = next((user for user in node.users if user in self.seen), None)
            return () if picked is None else self.shape(picked)
        shape, batch = self.seen[node].shape, self.batch
        if node in self.fixed or not shape:
            return shape
        if shape[0] != batch and batch in shape:
            axis = shape.index(batch)
            return (*shape[:axis], *shape[axis + 1 :])
        if shape[0] % batch:
            return shape
        return shape[1:] if shape[0] == batch else (shape[0] // batch, *shape[1:])

    def kind(self, node: fx.Node) -> str:
        """What makes a value: the type of a module, the name of a function, or "input", "Parameter", "Buffer"."""
        if node.op == "placeholder":
            return INPUT
        if node.op == "get_attr":
            owner, _, name = str(node.target).rpartition(".")
            return PARAMETER if name in self.module.get_submodule(owner)._parameters else BUFFER
        module = called(node, self.module)
        if module is not None:
            return type(module).__name__
        source = source_of(node)
        if function_of(node) == "getitem" and source is not None and source not in self.seen:
            return self.kind(source)
        return function_of(node)
