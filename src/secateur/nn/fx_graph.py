"""A torch model as a graph of its calls, where Python's control flow does not depend on data; what its values look
like, and how far two results are apart. Tracer: torch.fx."""

from __future__ import annotations

import inspect
import operator
import random
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MethodType
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.fx.proxy import TraceError
from torch.utils import _pytree as pytree

TRACING_ERRORS = (TraceError, TypeError, ValueError, AttributeError, RuntimeError, KeyError, IndexError, AssertionError)
"""What a model's own code raises when it meets a stand-in for a tensor and asks it for what only data can tell."""
SAME = 1e-5
"""A traced model must give the original's outputs this closely, relative to the largest."""

Look = TypeVar("Look")


@dataclass(frozen=True)
class Calls:
    """module  the graph, which shares the modules and tensors of the model it came from
    scopes  name of a node -> path of the module whose code makes the call; of a module's own call, that module
    """

    module: fx.GraphModule
    scopes: dict[str, str]


class _Tracer(fx.Tracer):
    """torch's own modules and those of the kinds `leaves`, subclasses included, stay calls of modules."""

    def __init__(self, leaves: tuple[type[nn.Module], ...], *, buffers: bool) -> None:
        super().__init__()
        self.leaves = leaves
        self.proxy_buffer_attributes = buffers

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, self.leaves) or super().is_leaf_module(m, module_qualified_name)

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        """Loops run over the parts of a chunk or split whose number the code says."""
        count = _parts(obj.node)
        if not count:
            return super().iter(obj)
        return iter([self.create_proxy("call_function", operator.getitem, (obj, part), {}) for part in range(count)])


class _Watcher(fx.Interpreter):
    """Runs a graph and keeps what every tensor looked like."""

    def __init__(self, module: fx.GraphModule, look: Callable[[Tensor], Any]) -> None:
        super().__init__(module)
        self.look = look
        self.seen: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor):
            self.seen[n] = self.look(value)
        return value


def calls_of(model: nn.Module, given: int, leaves: tuple[type[nn.Module], ...] = (), *, buffers: bool = False) -> Calls:
    """The model's calls in the mode that it is in, if called with `given` arguments; the others keep their defaults. A
    forward that was put on the object itself is what is traced, as it is what runs.

    buffers  reading a buffer is a call too: else what the code computes from buffers alone is computed now, once

    Raises one of TRACING_ERRORS; the model stays as it was.
    """
    before, drawn = {module: dict(module.__dict__) for module in model.modules()}, _drawn()
    tracer, kind = _Tracer(leaves, buffers=buffers), type(model)
    try:
        if isinstance(own := vars(model).get("forward"), MethodType):  # torch looks for it in the class
            del model.__dict__["forward"]
            model.__class__ = type(kind.__name__, (kind,), {"forward": own.__func__})
        graph = tracer.trace(model, concrete_args=_defaults(model, given))
        _name_as_in_code(model, graph)
        module = fx.GraphModule(model, graph)
    finally:
        model.__class__ = kind
        for traced, attributes in before.items():  # what tracing, and the model's code under it, has set
            traced.__dict__.clear()
            traced.__dict__.update(attributes)
    if _drawn() != drawn:
        raise TraceError("it draws random numbers that depend on no input, which would be the same ones in every step")
    return Calls(module, {name: str(scope) for name, (scope, _) in tracer.node_name_to_scope.items()})


def watched(module: fx.GraphModule, inputs: tuple[Any, ...], look: Callable[[Tensor], Look]) -> dict[fx.Node, Look]:
    """What `look` sees of every tensor while the graph runs on these inputs."""
    watcher = _Watcher(module, look)
    watcher.run(*inputs)
    return watcher.seen


def difference(expected: Any, found: Any) -> float:
    """max|found - expected| / max|expected|, the worst of all tensors; infinite where the structure differs."""
    left, form = pytree.tree_flatten(expected)
    right, other = pytree.tree_flatten(found)
    if form != other:
        return float("inf")
    return max((_apart(a, b) for a, b in zip(left, right, strict=True)), default=0.0)


def place_of(error: BaseException) -> str:
    """ " (net.py:12 `if x.sum() > 0:`)": the innermost line outside torch and this package that the error came
    through."""
    own = (str(Path(torch.__file__).parent), str(Path(__file__).parent))
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(own):
            code = f" `{frame.line}`" if frame.line else ""
            return f" ({Path(frame.filename).name}:{frame.lineno}{code})"
    return ""


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
    """The arguments left at their defaults: fixed in the graph, so that `if mask is None` works."""
    parameters = list(inspect.signature(model.forward).parameters.values())[given:]
    return {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}


def _parts(node: fx.Node) -> int:
    """Into how many parts a call cuts a tensor, as far as the call itself tells; else 0."""
    name = str(getattr(node.target, "__name__", node.target))
    asked = node.args[1] if len(node.args) > 1 else node.kwargs.get("chunks", node.kwargs.get("split_size_or_sections"))
    if name == "chunk" and isinstance(asked, int):
        return asked
    return len(asked) if name == "split" and isinstance(asked, tuple | list) else 0


def _name_as_in_code(model: nn.Module, graph: fx.Graph) -> None:
    """Arguments left at their defaults get their own names again, so that the graph's function takes them by name."""
    names = list(inspect.signature(model.forward).parameters)
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    if len(inputs) == len(names) and not any(str(node.target).startswith("*") for node in inputs):
        for node, name in zip(inputs, names, strict=True):
            node.target = name


def _drawn() -> tuple[object, ...]:
    """How far the random number generators are."""
    state: Any = np.random.get_state(legacy=False)
    return torch.get_rng_state().numpy().tobytes(), random.getstate(), str(state["state"])
