"""The graph under construction, and one aten call as a lowering function sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.fx import Node as TorchNode

from secateur.errors import GraphError
from secateur.ir.graph import Attribute, Graph, Node, ValueType
from secateur.ir.naming import MADE
from secateur.ir.ops import OPS

# What torch calls a dtype, and what the graph makes of it: integers of any width are int64.
DTYPES = {
    torch.float32: "float32",
    torch.int64: "int64",
    torch.int32: "int64",
    torch.int16: "int64",
    torch.int8: "int64",
    torch.uint8: "int64",
    torch.bool: "bool",
}


@dataclass(frozen=True)
class Call:
    """One aten call: its arguments by the schema's names, defaults filled in, and the types of its results.

    `types` holds None for a result that is no tensor. `where` names the module and source line of the call. `read`
    says of each result whether anything reads it.
    """

    target: str
    arguments: Mapping[str, Any]
    types: tuple[ValueType | None, ...]
    where: str
    read: tuple[bool, ...] = (True,)

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def get(self, name: str, otherwise: Any = None) -> Any:
        """An argument that only some overloads have."""
        return self.arguments.get(name, otherwise)

    @property
    def type(self) -> ValueType:
        """The type of the first (mostly: the only) result."""
        first = self.types[0] if self.types else None
        if first is None:
            raise GraphError("gives no tensor")
        return first

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the first result."""
        return self.type.shape


# What a lowering gives back: the value's name, or one name a result (None: that result is not offered).
Result = str | tuple[str | None, ...]
Lowering = Callable[["Builder", Call], Result]


@dataclass
class Builder:
    """Nodes, types and constants so far. A lowering asks it for values and emits nodes into it.

    names    node of torch's graph -> the value or values that stand for it
    known    nodes whose tensors are fixed while tracing (arange, full, ...); constants only once someone reads them
    stored   nodes of parameters and buffers -> the name of the constant, and the tensor
    uniform  values known to hold one number everywhere
    """

    names: dict[TorchNode, Result] = field(default_factory=dict)
    known: dict[TorchNode, Any] = field(default_factory=dict)
    stored: dict[TorchNode, tuple[str, torch.Tensor]] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    types: dict[str, ValueType] = field(default_factory=dict)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    uniform: dict[str, float] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)

    def note(self, text: str) -> None:
        """Something the user should know about the traced graph; said once."""
        self.notes[text] = None

    def fresh(self, wish: str) -> str:
        """A name nobody has yet: `wish`, else `wish_2`, `wish_3`, ..."""
        name, count = wish, 1
        while name in self.taken:
            count += 1
            name = f"{wish}_{count}"
        self.taken.add(name)
        return name

    def emit(self, op: str, *inputs: str, **attributes: Attribute) -> str:
        """Append a node and give the name of its output. GraphError where the op's shape rule objects."""
        result = OPS[op].shape([self.types[name] for name in inputs], attributes)
        output = self.fresh(op)
        self.nodes.append(Node(op, inputs, output, attributes))
        self.types[output] = result
        return output

    def constant(self, array: np.ndarray, wish: str) -> str:
        """A constant that has no state-dict key."""
        name = self.fresh(MADE + wish)
        self._store(name, array)
        return name

    def scalar(self, number: bool | int | float, dtype: str = "float32") -> str:
        """A 0-d constant; equal numbers share one."""
        array = np.asarray(number, dtype=dtype)
        name = f"{MADE}{float(number) if dtype == 'float32' else array.item()}"  # 2.0, 2 and True stay apart
        if name not in self.types:
            self.taken.add(name)
            self._store(name, array)
            self.uniform[name] = float(number)
        return name

    def value(self, argument: object) -> str:
        """The name of the value that a node of torch's graph stands for."""
        if not isinstance(argument, TorchNode):
            raise GraphError(f"takes {argument!r} where a tensor was expected")
        if argument not in self.names:
            self.names[argument] = self._constant_of(argument)
        name = self.names[argument]
        if not isinstance(name, str):
            raise GraphError(f"reads {argument.target} as one tensor; it gives several")
        return name

    def _constant_of(self, node: TorchNode) -> str:
        if node in self.known:
            array = as_array(self.known[node])
            name = self.constant(array, node.name)
            if array.size and (array == array.flat[0]).all():
                self.uniform[name] = float(array.flat[0])
            return name
        if node in self.stored:
            name, tensor = self.stored[node]
            if name not in self.constants:
                self._store(name, as_array(tensor))
            return name
        raise GraphError(
            "computes with the batch size itself (as in x / len(x)): the graph has numbers in tensors only; "
            "use mean() or a constant"
        )

    def _store(self, name: str, array: np.ndarray) -> None:
        self.constants[name] = array
        self.types[name] = ValueType(array.shape, array.dtype.name)

    def graph(self, outputs: Sequence[str]) -> Graph:
        """The finished graph: the nodes and constants that the outputs need, and all inputs."""
        needed, nodes = set(outputs), []
        for node in reversed(self.nodes):
            if node.output in needed:
                nodes.append(node)
                needed.update(node.inputs)
        constants = tuple(name for name in self.constants if name in needed)
        needed.update(self.inputs)
        types = {name: value for name, value in self.types.items() if name in needed}
        return Graph(tuple(self.inputs), tuple(outputs), constants, tuple(reversed(nodes)), types)

    # Steps that many lowerings share.

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a value."""
        return self.types[name].shape

    def cast(self, name: str, dtype: str) -> str:
        """The value as `dtype`; itself where it already is."""
        return name if self.types[name].dtype == dtype else self.emit("cast", name, dtype=dtype)

    def operand(self, argument: object, dtype: str) -> str:
        """An argument's value as `dtype`."""
        if isinstance(argument, bool | int | float):
            return self.scalar(argument, dtype)
        return self.cast(self.value(argument), dtype)

    def real(self, argument: object) -> str:
        """An argument's value as float32."""
        return self.operand(argument, "float32")

    def reshape(self, name: str, shape: tuple[int, ...]) -> str:
        """The value in another shape; itself where it already has it."""
        return name if self.shape(name) == shape else self.emit("reshape", name, shape=shape)

    def expand(self, name: str, shape: tuple[int, ...]) -> str:
        """The value stretched to a shape; itself where it already has it."""
        if self.shape(name) == shape:
            return name
        output = self.emit("expand", name, shape=shape)
        if name in self.uniform:
            self.uniform[output] = self.uniform[name]
        return output

    def slice(self, name: str, axis: int, start: int, stop: int, step: int = 1) -> str:
        """Elements start, start + step, ... below stop along one axis of known length."""
        if (start, stop, step) == (0, self.shape(name)[axis], 1):
            return name
        return self.emit("slice", name, axis=axis, start=start, stop=stop, step=step)


def as_array(tensor: torch.Tensor) -> np.ndarray:
    """A tensor as the numpy array the graph keeps: float32, int64 or bool. Raises GraphError on other dtypes."""
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point():
        return tensor.to(torch.float32).contiguous().numpy().copy()
    if tensor.dtype not in DTYPES:
        raise GraphError(f"a tensor of dtype {tensor.dtype} has no place in the graph: use float32, int64 or bool")
    return tensor.contiguous().numpy().astype(DTYPES[tensor.dtype])


def per_dimension(value: int | Sequence[int], dimensions: int) -> tuple[int, ...]:
    """One number a spatial dimension, from torch's "an int, a list of one, or a list of all"."""
    numbers = (value,) if isinstance(value, int) else tuple(value)
    return numbers * dimensions if len(numbers) == 1 else numbers
