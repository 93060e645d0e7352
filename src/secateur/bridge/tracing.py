"""A torch model as a graph of calls, where Python's control flow does not depend on data; and what runs through it."""

from __future__ import annotations

from dataclasses import dataclass, is_dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from secateur.nn.fx_graph import SAME, TRACING_ERRORS, calls_of, difference, fresh, is_looked_into
from secateur.nn.map_quantize import FrozenMap, MapQuantize
from secateur.nn.norms.lagrange_norm import LagrangeNorm
from secateur.nn.plain_layers import hooked
from secateur.nn.traced_arguments import settings_of

LEAVES = (nn.Conv1d, nn.Conv2d, nn.Linear, LagrangeNorm, MapQuantize, FrozenMap)
"""What stays a call of a module."""
NOTHING_IN_EVALUATION = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)


@dataclass(frozen=True)
class Seen:
    """What a node's value was on the example: shape and dtype of a tensor, whether it was contiguous (NCHW)."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    contiguous: bool


def traced(model: nn.Module, inputs: tuple[Any, ...], expected: Any) -> fx.GraphModule | str:
    """The model as a graph that gives the expected outputs, or why there is none."""
    if hooks := ", ".join(_with_hooks(model)):
        return f"hooks of {hooks} would not be called"
    try:
        module = calls_of(model, len(inputs), LEAVES, constants=settings_of(inputs)).module
        _drop_what_does_nothing(module)
        apart = difference(expected, module(*fresh(inputs)))
    except TRACING_ERRORS as error:
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"
    return module if apart <= SAME else "the traced graph computes something else than the model"


def look(value: Tensor) -> Seen:
    """What `watched` keeps here."""
    return Seen(tuple(value.shape), value.dtype, value.is_contiguous())


def let_any_layout_pass(module: fx.GraphModule) -> None:
    """`view` and `view_as` become `reshape` and `reshape_as`, which also take channels_last."""
    for node in module.graph.nodes:
        if node.op == "call_method" and node.target == "view_as":
            node.target = "reshape_as"
        if node.op == "call_method" and node.target == "view" and not _of_dtype(node):
            node.target, sizes = "reshape", dict(node.kwargs)
            if "size" in sizes:
                node.kwargs = {"shape": sizes["size"]}
    module.recompile()


def _of_dtype(view: fx.Node) -> bool:
    return any(isinstance(given, torch.dtype) for given in (*view.args, *view.kwargs.values()))


def keep_layout_of_outputs(module: fx.GraphModule, seen: dict[fx.Node, Seen]) -> None:
    """Outputs that were contiguous are made so at the end of the graph, or where a dataclass takes them."""
    for output in list(module.graph.nodes):
        if output.op != "output" and not (output.op == "call_function" and is_dataclass(output.target)):
            continue
        for node in dict.fromkeys(output.all_input_nodes):
            found = seen.get(node)
            if found is not None and found.contiguous:
                with module.graph.inserting_before(output):
                    output.replace_input_with(node, module.graph.call_method("contiguous", (node,)))
    module.recompile()


def _with_hooks(model: nn.Module) -> list[str]:
    """Modules whose code becomes part of the graph, so that nothing would call their hooks."""
    modules = {name: module for name, module in model.named_modules() if hooked(module)}
    inside = {name for name, module in modules.items() if module is model or is_looked_into(module, LEAVES)}
    return [repr(name) if name else "the model itself" for name in modules if name in inside]


def _drop_what_does_nothing(module: fx.GraphModule) -> None:
    for node in list(module.graph.nodes):
        if node.op == "call_module" and len(node.args) == 1 and isinstance(node.args[0], fx.Node):
            called = module.get_submodule(str(node.target))
            if type(called) in NOTHING_IN_EVALUATION and not called._forward_hooks and not called._forward_pre_hooks:
                node.replace_all_uses_with(node.args[0])
                module.graph.erase_node(node)
    module.graph.lint()
    module.recompile()
