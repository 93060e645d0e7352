"""A torch model as a graph of calls, where Python's control flow does not depend on data; and what runs through it."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.proxy import TraceError
from torch.utils import _pytree as pytree

TRACING_ERRORS = (TraceError, TypeError, ValueError, AttributeError, RuntimeError, KeyError, IndexError, AssertionError)
"""What a model's own code raises when it meets a stand-in for a tensor and asks it for what only data can tell."""
NOTHING_IN_EVALUATION = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
SAME = 1e-5
"""A traced model must give the original's outputs this closely, relative to the largest."""


@dataclass(frozen=True)
class Seen:
    """What a node's value was on the example: shape and dtype of a tensor, whether it was contiguous (NCHW)."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    contiguous: bool


class _Tracer(fx.Tracer):
    """Convolutions of any class stay modules."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.Conv1d | nn.Conv2d) or super().is_leaf_module(m, module_qualified_name)


class _Watcher(fx.Interpreter):
    """Runs a graph and keeps what every value looked like."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.seen: dict[fx.Node, Seen] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor):
            self.seen[n] = Seen(tuple(value.shape), value.dtype, value.is_contiguous())
        return value


def traced(model: nn.Module, inputs: tuple[Any, ...], expected: Any) -> fx.GraphModule | str:
    """The model as a graph that gives the expected outputs, or why there is none."""
    try:
        graph = _Tracer().trace(model, concrete_args=_defaults(model, len(inputs)))
        module = fx.GraphModule(model, graph)
        _drop_what_does_nothing(module)
        found = module(*inputs)
    except TRACING_ERRORS as error:
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"
    if not difference(expected, found) <= SAME:
        return "the traced graph computes something else than the model"
    return module


def watched(module: fx.GraphModule, inputs: tuple[Any, ...]) -> dict[fx.Node, Seen]:
    """What every node's value looks like."""
    watcher = _Watcher(module)
    watcher.run(*inputs)
    return watcher.seen


def let_any_layout_pass(module: fx.GraphModule) -> None:
    """`view` becomes `reshape`, which also takes channels_last."""
    for node in module.graph.nodes:
        if node.op == "call_method" and node.target == "view" and not isinstance(node.args[1], torch.dtype):
            node.target = "reshape"
    module.recompile()


def keep_layout_of_outputs(module: fx.GraphModule, seen: dict[fx.Node, Seen]) -> None:
    """Outputs that were contiguous are made so at the end of the graph."""
    (output,) = [node for node in module.graph.nodes if node.op == "output"]
    for node in dict.fromkeys(output.all_input_nodes):
        found = seen.get(node)
        if found is not None and found.contiguous and len(found.shape) > 3:
            with module.graph.inserting_before(output):
                output.replace_input_with(node, module.graph.call_method("contiguous", (node,)))
    module.recompile()


def difference(expected: Any, found: Any) -> float:
    """max|found - expected| / max|expected|, the worst of all tensors; infinite where the structure differs."""
    left, form = pytree.tree_flatten(expected)
    right, other = pytree.tree_flatten(found)
    if form != other:
        return float("inf")
    return max((_apart(a, b) for a, b in zip(left, right, strict=True)), default=0.0)


def _apart(a: Any, b: Any) -> float:
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        return 0.0 if a == b else float("inf")
    if a.shape != b.shape or a.dtype != b.dtype:
        return float("inf")
    if a.numel() == 0 or torch.equal(a, b):
        return 0.0
    wide, other = (t.to(torch.complex128 if t.is_complex() else torch.float64) for t in (a, b))
    same = (wide == other) | (wide.isnan() & other.isnan())
    if not torch.isfinite(torch.where(same, 0, wide - other)).all():
        return float("inf")
    scale, worst = (float(t.abs().max()) for t in (wide.nan_to_num(0, 0, 0), torch.where(same, 0, wide - other)))
    return worst / scale if scale else float("inf") if worst else 0.0


def _defaults(model: nn.Module, given: int) -> dict[str, Any]:
    """The arguments that the example leaves at their defaults: fixed in the graph, so that `if mask is None` works."""
    parameters = list(inspect.signature(model.forward).parameters.values())[given:]
    return {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}


def _drop_what_does_nothing(module: fx.GraphModule) -> None:
    for node in list(module.graph.nodes):
        if node.op == "call_module" and len(node.args) == 1 and isinstance(node.args[0], fx.Node):
            called = module.get_submodule(str(node.target))
            if type(called) in NOTHING_IN_EVALUATION and not called._forward_hooks and not called._forward_pre_hooks:
                node.replace_all_uses_with(node.args[0])
                module.graph.erase_node(node)
    module.graph.lint()
    module.recompile()
