"""A traced graph in the form that the rest of this package expects, without a change of what it computes."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import torch
from torch import fx, nn

from secateur.bridge.byte_chains import MOVES
from secateur.bridge.pooled_codes import FUNCTIONS
from secateur.bridge.recognising import ACTIVATIONS, hooked
from secateur.bridge.trial import is_layer

READ_INPUT_FIRST = frozenset(call for call in (*MOVES, *FUNCTIONS, *ACTIVATIONS) if callable(call))
"""Functions whose first argument is called `input`."""


def arguments_by_position(module: fx.GraphModule) -> None:
    """What was given by name is given by position where it has one; not to a module with hooks, which would see it."""
    for node in module.graph.nodes:
        if not node.kwargs:
            continue
        if node.op == "call_module" and not hooked(called := module.get_submodule(str(node.target))):
            bound = inspect.signature(called.forward).bind(*node.args, **node.kwargs)
            node.args, node.kwargs = bound.args, bound.kwargs
        elif node.op == "call_function" and not node.args and node.target in READ_INPUT_FIRST:
            rest = dict(node.kwargs)
            node.args, node.kwargs = (rest.pop("input"),), rest
    module.recompile()


def keep_what_is_read(module: fx.GraphModule) -> None:
    """Parameters of a layer that the graph reads itself are read from a name of their own: whatever replaces the layer,
    or is folded into it, has others."""
    for node in module.graph.nodes:
        path, _, attribute = str(node.target).rpartition(".")
        if node.op != "get_attr" or not any(is_layer(module.get_submodule(part)) for part in _up(path)):
            continue
        owner, name = module.get_submodule(path), f"{str(node.target).replace('.', '_')}_as_read"
        if attribute in owner._buffers:
            module.register_buffer(name, owner._buffers[attribute])
        else:
            setattr(module, name, getattr(owner, attribute))
        node.target = name
    module.recompile()


def to_channels_last(module: nn.Module) -> None:
    """Parameters and buffers of images, which have four dimensions, in channels_last; others as they are."""
    module._apply(lambda held: held.contiguous(memory_format=torch.channels_last) if held.dim() == 4 else held)


def _up(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition(".")[0]
