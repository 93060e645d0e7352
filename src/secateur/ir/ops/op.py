"""What one row of the table of operations holds: name, attributes, shape rule, numpy meaning, cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal, NamedTuple

import numpy as np

from secateur.errors import GraphError
from secateur.ir.graph import Attribute, ValueType
from secateur.ir.ops.sizes import MAX_ELEMENTS, MAX_RANK

# int and ints are natural numbers; a shape is in the notation of ir/graph.py; a tuple of strings lists the choices.
Kind = Literal["bool", "int", "float", "ints", "shape"] | tuple[str, ...]

FLOAT32_MAX = float(np.finfo(np.float32).max)


CALL_STEPS = 4000  # what a call of numpy costs, however small its arrays


class Effort(NamedTuple):
    """What one execution takes: memory beside inputs and output, and elementary steps beside multiply-accumulates."""

    scratch_bytes: int
    steps: int


def plain_effort(output: ValueType, *inputs: ValueType, **_attributes: Any) -> Effort:
    """A few temporary arrays of the output's size."""
    size = prod(output.shape)
    return Effort(16 * size, 4 * size + sum(prod(value.shape) for value in inputs))


def wide_effort(output: ValueType, *_inputs: ValueType, **_attributes: Any) -> Effort:
    """A dozen temporary arrays of the output's size in float64."""
    size = prod(output.shape)
    return Effort(96 * size, 40 * size)


@dataclass(frozen=True)
class Op:
    """One row of OPS.

    name        what a node's `op` says
    arity       fewest and most inputs; optional inputs are the trailing ones
    rule        (*input types, **attributes) -> output type; raises GraphError for inputs that do not fit
    meaning     (*arrays, **attributes) -> array, a 0-d one too; never writes into its inputs, may return a view of one
    attributes  name and kind of every attribute; all of them are required
    multiplies  (*input types, **attributes) -> multiply-accumulates for one example; None for an op that has none
    weights     number of inputs -> positions of the matrices whose every element takes part in equally many of these;
                None for a product of the first two inputs
    effort      (output type, *input types, **attributes), all of a known batch size -> Effort
    """

    name: str
    arity: tuple[int, int]
    rule: Callable[..., ValueType]
    meaning: Callable[..., np.ndarray]
    attributes: Mapping[str, Kind] = field(default_factory=dict)
    multiplies: Callable[..., int] | None = None
    weights: Callable[[int], tuple[int, ...]] | None = None
    effort: Callable[..., Effort] = plain_effort

    def shape(self, inputs: Sequence[ValueType], attributes: Mapping[str, Attribute]) -> ValueType:
        """The type of the output. GraphError where the number of inputs, an attribute or a shape does not fit."""
        fewest, most = self.arity
        if not fewest <= len(inputs) <= most:
            wanted = str(fewest) if fewest == most else f"{fewest} to {most}"
            raise GraphError(f"{self.name} takes {wanted} inputs, not {len(inputs)}")
        self._check_attributes(attributes)
        return self.rule(*inputs, **attributes)

    def run(self, arrays: Sequence[np.ndarray], attributes: Mapping[str, Attribute], batch: int) -> np.ndarray:
        """The numpy meaning, for inputs that fit the shape rule; sizes -k in a shape attribute become k * batch."""
        return self.meaning(*arrays, **bound_attributes(self, attributes, batch))

    def macs(self, inputs: Sequence[ValueType], attributes: Mapping[str, Attribute]) -> int:
        """Dense multiply-accumulates for one example (batch 1); 0 for an op that is no sum of products."""
        return 0 if self.multiplies is None else self.multiplies(*inputs, **attributes)

    def _check_attributes(self, attributes: Mapping[str, Attribute]) -> None:
        expected = ", ".join(self.attributes) or "none"
        for name in attributes:
            # Only the type of an odd key is printed: its value may be anything a hostile file can hold.
            if type(name) is not str or name not in self.attributes:
                shown = repr(name[:40]) if type(name) is str else f"of type {type(name).__name__}"
                raise GraphError(f"{self.name} has no attribute {shown}; its attributes: {expected}")
        for name, kind in self.attributes.items():
            if name not in attributes:
                raise GraphError(f"{self.name} lacks its attribute {name!r}; its attributes: {expected}")
            problem = _misfit(attributes[name], kind)
            if problem:
                raise GraphError(f"{self.name}: attribute {name!r} {problem}")


def bound_attributes(op: Op, attributes: Mapping[str, Attribute], batch: int) -> dict[str, Attribute]:
    """Attributes of a node of `op` where sizes -k in a shape have become k * batch."""
    return {
        name: ValueType(value).bind(batch) if op.attributes[name] == "shape" and isinstance(value, tuple) else value
        for name, value in attributes.items()
    }


def _misfit(value: object, kind: Kind) -> str | None:
    """What is wrong with an attribute's value, or None. Names types only: printing a huge integer raises."""
    got = f"not {type(value).__name__}"
    if isinstance(kind, tuple):
        return None if type(value) is str and value in kind else f"must be one of {', '.join(kind)}"
    if kind == "bool":
        return None if type(value) is bool else f"must be a bool, {got}"
    if kind == "int":
        return None if _is_size(value, least=0) else f"must be an int from 0 to 2**40, {got} or beyond"
    if kind == "float":
        if type(value) is not float:
            return f"must be a float, {got}"
        fits = abs(value) <= FLOAT32_MAX or math.isinf(value)
        return None if fits else "must be a number float32 can hold, or infinite; nan is none"
    longest = 2 * MAX_RANK if kind == "ints" else MAX_RANK
    least = 0 if kind == "ints" else -MAX_ELEMENTS
    if type(value) is not tuple or len(value) > longest:
        return f"must be a tuple of at most {longest} ints, {got} or longer"
    if not all(_is_size(entry, least=least) for entry in value):
        return f"must hold ints from {'0' if kind == 'ints' else '-2**40'} to 2**40 only"
    return None


def _is_size(value: object, *, least: int) -> bool:
    return type(value) is int and least <= value <= MAX_ELEMENTS
