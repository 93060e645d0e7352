"""Which nodes of a traced graph belong to a convolution: batch norm, residual addition, activation."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import fx, nn
from torch.nn import functional as F

from secateur.bridge.stored_maps import byte_map
from secateur.nn.norms.lagrange_norm import LagrangeNorm1d, LagrangeNorm2d
from secateur.nn.plain_layers import hooked

ADDITIONS = {operator.add: False, operator.iadd: True, torch.add: False, "add": False, "add_": True}
"""What a node calls -> whether it works in place."""
ACTIVATIONS = {
    torch.relu: "relu",
    torch.relu_: "relu",
    F.relu: "relu",
    "relu": "relu",
    "relu_": "relu",
    F.relu6: "relu6",
    F.leaky_relu: "leaky_relu",
    nn.ReLU: "relu",
    nn.ReLU6: "relu6",
    nn.LeakyReLU: "leaky_relu",
}
"""A function, a method's name or a module's type -> the kernels' name."""
NORMS: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm1d: nn.Conv1d,
    nn.BatchNorm2d: nn.Conv2d,
    LagrangeNorm1d: nn.Conv1d,
    LagrangeNorm2d: nn.Conv2d,
}
"""What folds in evaluation -> into what."""
_AUGMENTED = "add and concat floordiv lshift matmul mod mul or pow rshift sub truediv xor"
IN_PLACE = {operator.setitem, operator.delitem, *(getattr(operator, f"i{name}") for name in _AUGMENTED.split())}
USUAL_SLOPE = 0.01


@dataclass(frozen=True)
class Chain:
    """A convolution and what one kernel can do with it: nodes in their order, the last one's value is the result.
    between: a quantizer before a sum, which is left out where the sum is quantized itself."""

    conv: fx.Node
    between: fx.Node | None = None
    addition: fx.Node | None = None
    residual: fx.Node | None = None
    activation: fx.Node | None = None
    kind: str = "none"
    slope: float = USUAL_SLOPE

    @property
    def nodes(self) -> list[fx.Node]:
        """In the order they run."""
        return [node for node in (self.conv, self.between, self.addition, self.activation) if node is not None]

    @property
    def fused(self) -> tuple[str, ...]:
        """What is done besides the convolution, for people."""
        added = ["residual"] if self.between is None else ["residual, rounded with the sum alone"]
        return (*(added if self.residual else []), *([self.kind] if self.activation else []))


def called(node: fx.Node, model: nn.Module) -> object:
    """What a node calls: a function, a method's name, a module's type; None for the rest and a module with hooks."""
    if node.op != "call_module":
        return node.target if node.op in ("call_function", "call_method") else None
    module = model.get_submodule(str(node.target))
    return None if hooked(module) else type(module)


def only_user(node: fx.Node) -> fx.Node | None:
    """The one node that reads a value, if there is one."""
    return next(iter(node.users)) if len(node.users) == 1 else None


def foldable_norms(graph: fx.Graph, model: nn.Module, convs: Iterable[fx.Node]) -> list[tuple[fx.Node, fx.Node]]:
    """Pairs of a convolution and the batch norm that alone reads it, where the convolution is called once."""
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    found = []
    for conv in convs:
        norm = only_user(conv)
        if norm is None or norm.op != "call_module" or calls[conv.target] != 1 or norm.args != (conv,):
            continue
        module, layer = model.get_submodule(str(norm.target)), model.get_submodule(str(conv.target))
        kind = NORMS.get(type(module))
        if kind and isinstance(layer, kind) and not hooked(module) and not hooked(layer) and _settled(module):
            found.append((conv, norm))
    return found


def _settled(norm: nn.Module) -> bool:
    return not norm.training and norm.running_mean is not None and norm.running_var is not None


def chains(conv: fx.Node, model: nn.Module, *, in_bytes: bool = False) -> list[Chain]:
    """Every way to take a convolution, the longest first; the shortest is the convolution alone. in_bytes: it may leave
    out the rounding of what is added to a sum that is rounded to a byte itself."""
    found = [Chain(conv)]
    reader = only_user(conv)
    if reader is not None and (residual := _residual(reader, conv, model)) is not None:
        found.append(Chain(conv, addition=reader, residual=residual))
    if in_bytes and reader is not None and byte_map(reader, model) is not None:
        addition = only_user(reader)
        if addition is not None and (residual := _residual(addition, reader, model)) is not None:
            found.append(Chain(conv, reader, addition, residual))
    for start in tuple(found):
        end = start.nodes[-1]
        reader = only_user(end)
        if reader is not None and (named := _activation(reader, end, model)) is not None:
            found.append(Chain(conv, start.between, start.addition, start.residual, reader, *named))
    found = [one for one in found if one.between is None or byte_map(only_user(one.nodes[-1]), model) is not None]
    order = sorted(found, key=lambda chain: (chain.residual is not None, len(chain.nodes)), reverse=True)
    return [chain for chain in order if not _changed_meanwhile(chain, model)]


def _residual(node: fx.Node, conv: fx.Node, model: nn.Module) -> fx.Node | None:
    """What a node adds to a convolution's output, if that is all it does."""
    call = called(node, model)
    if node.op == "call_module" or not _in(call, ADDITIONS) or node.kwargs or len(node.args) != 2:
        return None
    first, second = node.args
    other = second if first is conv else first
    if not isinstance(other, fx.Node) or other is conv or (ADDITIONS[call] and first is not conv):
        return None
    return other


def _activation(node: fx.Node, source: fx.Node, model: nn.Module) -> tuple[str, float] | None:
    """Kind and slope, if a node is an activation of `source`."""
    call = called(node, model)
    if not _in(call, ACTIVATIONS) or node.args[:1] != (source,) or len(node.all_input_nodes) != 1:
        return None
    kind, slope = ACTIVATIONS[call], USUAL_SLOPE
    if kind == "leaky_relu" and node.op == "call_module":
        slope = model.get_submodule(str(node.target)).negative_slope
    elif kind == "leaky_relu":
        slope = node.args[1] if len(node.args) > 1 else node.kwargs.get("negative_slope", USUAL_SLOPE)
    return (kind, float(slope)) if isinstance(slope, int | float) and slope >= 0 else None


def _in(call: object, table: dict) -> bool:
    return isinstance(call, str | type | Callable) and call in table


def _changed_meanwhile(chain: Chain, model: nn.Module) -> bool:
    """Whether something works in place between the nodes, which run together at the place of the last one."""
    for first, last in pairwise(chain.nodes):
        node = first.next
        while node is not last:
            if _in_place(node, model):
                return True
            node = node.next
    return False


def changes(node: fx.Node, value: fx.Node, model: nn.Module) -> bool:
    """Whether a node works in place on a value that it reads."""
    return _in_place(node, model) and (node.args[:1] == (value,) or node.kwargs.get("out") is value)


def _in_place(node: fx.Node, model: nn.Module) -> bool:
    if node.op == "call_module":
        return bool(getattr(model.get_submodule(str(node.target)), "inplace", False))
    name = node.target if node.op == "call_method" else getattr(node.target, "__name__", "")
    named = isinstance(name, str) and name.endswith("_") and not name.endswith("__")
    return named or node.target in IN_PLACE or "out" in node.kwargs or bool(node.kwargs.get("inplace", False))
