"""What a node of torch's graph says of itself: arguments, types in the graph's notation, its place in the source."""

from __future__ import annotations

import operator
import re
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node as TorchNode
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

from secateur.errors import GraphError
from secateur.ir.graph import ValueType
from secateur.nn.lowering.builder import DTYPES


def arguments_of(node: TorchNode) -> dict[str, Any]:
    """A call's arguments by the names of its schema, defaults filled in."""
    assert isinstance(node.target, torch._ops.OpOverload)
    arguments: dict[str, Any] = {}
    for position, argument in enumerate(node.target._schema.arguments):
        given = node.args[position] if position < len(node.args) else node.kwargs.get(argument.name)
        arguments[argument.name] = argument.default_value if given is None else given
    return arguments


def type_of(value: Tensor) -> ValueType:
    """The type of a traced tensor in the graph's notation. GraphError for one that the graph cannot hold."""
    if value.dtype not in DTYPES:
        raise GraphError(f"makes a tensor of dtype {value.dtype}; the graph has float32, int64 and bool")
    return ValueType(tuple(_size(size) for size in value.shape), DTYPES[value.dtype])


def is_empty(value: Tensor) -> bool:
    """Whether a size is 0; asked of plain ints only, because asking a symbol would set it."""
    return any(isinstance(size, int) and size == 0 for size in value.shape)


def _size(size: int | torch.SymInt) -> int:
    """A size in the graph's notation: k, or -k for k times the batch."""
    if isinstance(size, int):
        return size
    factor, symbol = size.node.expr.as_coeff_Mul()
    if factor.is_Integer and symbol.is_Symbol and not free_unbacked_symbols(size):
        return -int(factor)
    raise GraphError(f"makes a tensor of size {size.node.expr}; the graph has constants and multiples of the batch")


def is_number(value: object) -> bool:
    """Whether a result is a number, known or symbolic, and no tensor."""
    return isinstance(value, bool | int | float | torch.SymInt | torch.SymFloat | torch.SymBool)


def is_random(node: TorchNode) -> bool:
    """Whether a call draws from torch's random generator."""
    target = node.target
    return isinstance(target, torch._ops.OpOverload) and torch.Tag.nondeterministic_seeded in target.tags


def has_symbols(node: TorchNode) -> bool:
    """Whether a call or its result depends on the batch size."""
    value = node.meta.get("val")
    values = [
        *(source.meta.get("val") for source in node.all_input_nodes),
        *(value if isinstance(value, tuple | list) else [value]),
    ]
    sizes = [size for item in values if isinstance(item, Tensor) for size in item.shape]
    return any(isinstance(size, torch.SymInt) for size in sizes) or any(is_number(item) for item in values)


def read_of(node: TorchNode, results: int) -> tuple[bool, ...]:
    """For every result of a call whether anything reads it."""
    picked = [user.args[1] for user in node.users if user.target is operator.getitem and user.users]
    whole = any(user.target is not operator.getitem for user in node.users)
    return tuple(whole or place in picked for place in range(results))


def place_of(node: TorchNode) -> str:
    """ "in 'layer1.0' (Linear), net.py:12 `x = self.fc(x)`", as far as torch knows."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    frames = re.findall(r'File "([^"]+)", line (\d+), in .*\n\s*(.*)', node.meta.get("stack_trace") or "")
    where = ""
    if stack:
        path, kind = stack[-1]
        kind = kind if isinstance(kind, str) else kind.__qualname__
        where = f"in {path!r} ({kind.rpartition('.')[2]})" if path else f"in {kind.rpartition('.')[2]}"
    if frames:
        file, line, code = frames[-1]
        where += f", {file.replace(chr(92), '/').rpartition('/')[2]}:{line} `{code}`"
    return where or "(source unknown)"
