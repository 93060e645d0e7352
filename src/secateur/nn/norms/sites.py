"""Which layer makes what a normalization layer takes: the one whose weights can do the normalizing."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from torch import Tensor, fx, nn
from torch.nn.utils.parametrize import is_parametrized

from secateur.errors import PlanError
from secateur.nn.fx_graph import TRACING_ERRORS, calls_of, place_of
from secateur.nn.norms.evaluation import evaluated
from secateur.nn.plain_layers import KINDS, hooked, own_way

ASKED = ("dtype", "device", "shape", "ndim", "requires_grad", "is_cuda", "size", "dim", "numel")
"""What code may ask of a tensor without reading its numbers."""


@dataclass(frozen=True)
class Maker:
    """The layer that makes what a norm takes, by name; or why none does it alone."""

    name: str = ""
    reason: str = ""


def makers(model: nn.Module, example: tuple[Any, ...], norms: tuple[type[nn.Module], ...]) -> dict[str, Maker]:
    """Name of a normalization layer of these kinds -> its maker; norms that are never called are not in it.

    A maker is a linear layer or convolution of torch's own whose output channels are axis 1 of its output, as of the
    norm's input, and whose weights nothing else reads; the model is evaluated once on the example to know. PlanError
    where the model's code cannot be traced or does not take the example.
    """
    try:
        traced = calls_of(model, len(example), leaves=(*norms, *KINDS)).module
    except TRACING_ERRORS as error:
        raise PlanError(
            f"what stands before the norms cannot be told: tracing the model failed{place_of(error)}: {error}"
        ) from error
    called = [node for node in traced.graph.nodes if node.op == "call_module"]
    deciding = _Deciding(model, traced, Counter(node.target for node in called), _dimensions(model, example))
    nodes = {str(node.target): node for node in called if isinstance(model.get_submodule(str(node.target)), norms)}
    return {name: deciding.maker(node) for name, node in nodes.items()}


class _Deciding:
    """How often a model's layers are called, what their outputs look like on the example, and who reads its tensors."""

    def __init__(
        self, model: nn.Module, traced: fx.GraphModule, calls: Counter[Any], dimensions: dict[nn.Module, set[int]]
    ) -> None:
        self.model, self.calls, self.dimensions = model, calls, dimensions
        self.owners: defaultdict[int, list[str]] = defaultdict(list)
        for name, module in model.named_modules():
            for tensor in (*module._parameters.values(), *module._buffers.values()):
                if tensor is not None:
                    self.owners[_memory(tensor)].append(name)
        named = [node for node in traced.graph.nodes if node.op == "get_attr" and any(map(_reads, node.users))]
        values = (attrgetter(str(node.target))(traced) for node in named)
        self.read = {_memory(value) for value in values if isinstance(value, Tensor)}

    def maker(self, norm: fx.Node) -> Maker:
        source = norm.args[0] if norm.args else None
        if self.calls[norm.target] > 1:
            return Maker(reason="it is called more than once")
        if not isinstance(source, fx.Node) or source.op != "call_module":
            return Maker(reason="what it takes is not the output of a layer")
        layer, name = self.model.get_submodule(str(source.target)), str(source.target)
        if not isinstance(layer, KINDS):
            kind = type(layer).__name__
            return Maker(reason=f"{name} ({kind}) makes what it takes, not a linear layer or convolution")
        if self.calls[source.target] > 1 or len(source.users) > 1:
            return Maker(reason=f"{name} is called more than once or read by others too")
        own = self.model.get_submodule(str(norm.target))
        if reason := self._unfit(layer, name) or self._shared(own, str(norm.target)) or self._shared(layer, name):
            return Maker(reason=reason)
        return Maker(name)

    def _unfit(self, layer: Any, name: str) -> str:
        if is_parametrized(layer):
            return f"the weights of {name} are parametrized: swap norms before prepare_"
        if own_way(layer):
            return f"{name} ({type(layer).__name__}) computes in its own way"
        if hooked(layer):
            return f"{name} has hooks, which may change its weights or what it gives"
        wanted, found = layer.weight.dim(), self.dimensions.get(layer)
        if found is None:
            return f"{name} is not called in evaluation"
        if found != {wanted}:
            told = ", ".join(map(str, sorted(found)))
            return f"{name} gives {told} dimensions on the example, of which axis 1 is not its channels"
        return ""

    def _shared(self, module: nn.Module, name: str) -> str:
        """Whether something else reads a tensor of a module, and what."""
        for key, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is None:
                continue
            if others := [owner for owner in self.owners[_memory(tensor)] if owner != name]:
                return f"{key} of {name} is also a tensor of {', '.join(others)}"
            if _memory(tensor) in self.read:
                return f"{key} of {name} is read by the model's code too"
        return ""


def _dimensions(model: nn.Module, example: tuple[Any, ...]) -> dict[nn.Module, set[int]]:
    """How many dimensions the outputs of linear layers and convolutions have on the example, in evaluation."""
    found: defaultdict[nn.Module, set[int]] = defaultdict(set)

    def look(layer: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            found[layer].add(output.dim())

    hooks = [module.register_forward_hook(look) for module in model.modules() if isinstance(module, KINDS)]
    try:
        evaluated(model, example)
    finally:
        for hook in hooks:
            hook.remove()
    return dict(found)


def _memory(tensor: Tensor) -> int:
    """Where a tensor begins: two with the same numbers in memory are one. Of what has no memory, which object it is."""
    return tensor.data_ptr() or id(tensor)


def _reads(user: fx.Node) -> bool:
    """Whether a node that takes a tensor reads its numbers, rather than what they are like."""
    asked = user.args[1] if user.target is getattr else user.target
    return asked not in ASKED
