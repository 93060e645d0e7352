"""A torch model as a graph of its calls, where Python's control flow does not depend on data; what its values look
like, and how far two results are apart. Tracer: torch.fx."""

from __future__ import annotations

import dataclasses
import inspect
import operator
import random
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MethodType
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.fx.proxy import TraceError
from torch.utils import _pytree as pytree

TRACING_ERRORS = (
    *(TraceError, TypeError, ValueError, AttributeError, RuntimeError, KeyError, IndexError, AssertionError),
    *(NameError, SyntaxError),
)
"""What a model's own code raises when it meets a stand-in for a tensor and asks it for what only data can tell; and
what torch.fx raises where it cannot write a value down as code."""
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
    """torch's own modules and those of the kinds `leaves`, subclasses included, stay calls of modules.

    inputs     names of what the graph takes, in the order in which the model is called with it; None: whatever forward
               takes, as torch does when it loads a saved graph, for which it makes a tracer without arguments
    constants  number of an input -> the value that the code sees in place of a stand-in
    """

    def __init__(
        self,
        leaves: tuple[type[nn.Module], ...] = (),
        *,
        buffers: bool = False,
        inputs: list[str] | None = None,
        constants: Mapping[int, Any] | None = None,
    ) -> None:
        super().__init__()
        self.leaves, self.inputs, self.constants = leaves, inputs, constants or {}
        self.proxy_buffer_attributes = buffers

    def create_args_for_root(self, root_fn: Callable[..., Any], is_module: bool, concrete_args: Any = None) -> Any:
        """Stand-ins for the inputs alone: Python gives the other arguments their defaults, as in any call."""
        if self.inputs is None:
            return super().create_args_for_root(root_fn, is_module, concrete_args)
        given = [self.create_proxy("placeholder", name, (), {}) for name in self.inputs]
        return root_fn, [self.root, *(self.constants.get(number, one) for number, one in enumerate(given))]

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


def calls_of(
    model: nn.Module,
    given: int,
    leaves: tuple[type[nn.Module], ...] = (),
    *,
    buffers: bool = False,
    constants: Mapping[int, Any] | None = None,
) -> Calls:
    """The model's calls in the mode that it is in, if called with `given` arguments, which the graph takes; the others
    are what their defaults say, for good. A forward that was put on the object itself is what is traced, as it is what
    runs.

    buffers    reading a buffer is a call too: else what the code computes from buffers alone is computed now, once
    constants  number of an argument -> its value, for good too; the graph takes it and does not read it

    Raises one of TRACING_ERRORS; the model stays as it was.
    """
    before, drawn = {module: dict(module.__dict__) for module in model.modules()}, _drawn()
    kind = type(model)
    tracer = _Tracer(leaves, buffers=buffers, inputs=names_of_inputs(model, given), constants=constants)
    try:
        if isinstance(own := vars(model).get("forward"), MethodType):  # torch looks for it in the class
            del model.__dict__["forward"]
            model.__class__ = type(kind.__name__, (kind,), {"forward": own.__func__})
        module = fx.GraphModule(model, tracer.trace(model))
    finally:
        model.__class__ = kind
        for traced, attributes in before.items():  # what tracing, and the model's code under it, has set
            traced.__dict__.clear()
            traced.__dict__.update(attributes)
    if _drawn() != drawn:
        raise TraceError("it draws random numbers that depend on no input, which would be the same ones in every step")
    return Calls(module, {name: str(scope) for name, (scope, _) in tracer.node_name_to_scope.items()})


def names_of_inputs(model: nn.Module, given: int) -> list[str]:
    """What a model's code calls its first `given` arguments; those of `*xs` are xs_0, xs_1, ..."""
    names: list[str] = []
    for parameter in inspect.signature(model.forward).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            names += [f"{parameter.name}_{number}" for number in range(given - len(names))]
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            names.append(parameter.name)
    return names[:given]


def is_looked_into(module: nn.Module, leaves: tuple[type[nn.Module], ...] = ()) -> bool:
    """Whether a graph holds the calls that a module makes instead of a call of the module."""
    return not _Tracer(leaves).is_leaf_module(module, "")


def fresh(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same inputs with tensors of their own, as a model may work in place on what it is given."""
    copies: dict[int, Tensor] = {}  # what was one tensor stays one
    return pytree.tree_map_only(Tensor, lambda x: copies.setdefault(id(x), x.detach().clone()), inputs)


def watched(module: fx.GraphModule, inputs: tuple[Any, ...], look: Callable[[Tensor], Look]) -> dict[fx.Node, Look]:
    """What `look` sees of every tensor while the graph runs on these inputs, which stay as they are."""
    watcher = _Watcher(module, look)
    watcher.run(*fresh(inputs))
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
    if a is b:
        return 0.0
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        return _other_values_apart(a, b)
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


def _other_values_apart(a: Any, b: Any) -> float:
    """Of dataclasses the worst of their fields, of arrays and floats as of tensors; of anything else only whether it is
    equal, where it says so."""
    if dataclasses.is_dataclass(a) and type(a) is type(b):
        names = [field.name for field in dataclasses.fields(a)]
        return max((difference(getattr(a, name), getattr(b, name)) for name in names), default=0.0)
    try:
        if isinstance(a, np.ndarray | float) and isinstance(b, np.ndarray | float):
            return _apart(*(torch.from_numpy(np.array(one)) for one in (a, b)))
        return 0.0 if bool(a == b) else float("inf")
    except (TypeError, ValueError, RuntimeError):  # what holds arrays gives no single answer, and there are odd dtypes
        return float("inf")


def _parts(node: fx.Node) -> int:
    """Into how many parts a call cuts a tensor, as far as the call itself tells; else 0."""
    name = str(getattr(node.target, "__name__", node.target))
    asked = node.args[1] if len(node.args) > 1 else node.kwargs.get("chunks", node.kwargs.get("split_size_or_sections"))
    if name == "chunk" and isinstance(asked, int):
        return asked
    return len(asked) if name == "split" and isinstance(asked, tuple | list) else 0


def _drawn() -> tuple[object, ...]:
    """How far the random number generators are."""
    state: Any = np.random.get_state(legacy=False)
    return torch.get_rng_state().numpy().tobytes(), random.getstate(), str(state["state"])
