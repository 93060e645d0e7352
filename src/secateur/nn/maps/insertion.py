"""Quantizers of feature maps in a model: a container of its own beside the model's modules, and a forward that calls
them between the model's own calls."""

from __future__ import annotations

import copy
import inspect
import linecache
from collections.abc import Callable, Mapping
from types import MethodType
from typing import Any

from torch import fx, nn
from torch.fx.graph import CodeGen

from secateur.errors import DataError, PlanError
from secateur.ir.map_names import MAPS, key_of
from secateur.ir.plan_rows import MapPlan
from secateur.ir.rules import near
from secateur.nn.fx_graph import Calls
from secateur.nn.map_quantize import FrozenMap, MapQuantize
from secateur.nn.maps.modes import both_modes
from secateur.nn.maps.names import names_of
from secateur.nn.traced_arguments import refuse_others


class Quantizers(nn.ModuleDict):
    """The quantizers of a model, by the names of their maps with ":" for "."; and tensors that its code makes. floats:
    the rows of its plan's maps that stay float32 and take memory of their own."""

    floats: tuple[MapPlan, ...] = ()

    def __deepcopy__(self, memo: dict[int, Any]) -> Quantizers:
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return twin

    def __getstate__(self) -> dict[str, Any]:
        # A pickled model would come back with its class's own forward, that is without any of these, silently.
        raise TypeError(
            "a model with quantized feature maps cannot be pickled: save its state_dict(), and load that into a model "
            "prepared by the same plan; or pack it"
        )


def quantizers_of(model: nn.Module) -> Quantizers | None:
    """The container of a model that has one."""
    return next((module for module in model.modules() if isinstance(module, Quantizers)), None)


class Insertion:
    """Quantizers to be put into a model: everything that can fail happens here, and `install` then cannot.

    quantizers  map name -> module from map to map; PlanError where the model has no map of that name
    given       how many inputs the model is called with
    """

    def __init__(self, model: nn.Module, quantizers: Mapping[str, nn.Module], given: int) -> None:
        self.model = model
        modes = both_modes(model, given)
        self.home = Quantizers({key_of(name): quantizer for name, quantizer in quantizers.items()})
        self.training = self._forward(modes.training, quantizers, "training")
        self.evaluation = self._forward(modes.evaluation, quantizers, "evaluation")
        self.parameters = inspect.signature(model.forward).parameters
        self.home.train(model.training)
        if (tensor := next(model.parameters(), None)) is not None:
            self.home.to(tensor.device)

    def install(self) -> None:
        """Put them in."""
        self.model.add_module(MAPS, self.home)
        self.model.forward = MethodType(_dispatch(self.training, self.evaluation, self.parameters), self.model)

    def _forward(self, calls: Calls, quantizers: Mapping[str, nn.Module], mode: str) -> Callable[..., Any]:
        graph, names = calls.module.graph, names_of(calls)
        makers = {key_of(name): node for node, name in names.items()}
        for name in quantizers:
            if key_of(name) not in makers:
                raise PlanError(f"this model makes no map {name!r} in {mode}{near(name, names.values())}")
        for node in list(graph.nodes):
            if node.op == "get_attr" and not _has(self.model, str(node.target)):
                constant = f"{mode}_{str(node.target).strip('_')}"
                self.home.register_buffer(constant, getattr(calls.module, str(node.target)), persistent=False)
                node.target = f"{MAPS}.{constant}"
        first = next(node for node in graph.nodes if node.op != "placeholder")
        for name in quantizers:
            maker = makers[key_of(name)]
            place = graph.inserting_before(first) if maker.op == "placeholder" else graph.inserting_after(maker)
            with place:
                quantized = graph.create_node("call_module", f"{MAPS}.{key_of(name)}", (maker,))
            # The model's outputs stay float, whoever else reads the same value quantized.
            maker.replace_all_uses_with(quantized, lambda user, own=quantized: user is not own and user.op != "output")
        graph.set_codegen(CodeGen())
        return _executed(graph, f"<{type(self.model).__name__} in {mode}, with quantized feature maps>")


def remove_(model: nn.Module) -> bool:
    """Take all quantizers out of a model, in place; whether there were any."""
    found = False
    for module in list(model.modules()):
        if isinstance(module._modules.get(MAPS), Quantizers):
            del module._modules[MAPS]
            vars(module).pop("forward", None)
            found = True
    return found


def freeze_(model: nn.Module) -> None:
    """Every hard quantizer of a model becomes a FrozenMap, in place. PlanError for one that is still learned."""
    home = quantizers_of(model)
    for key, quantizer in home.items() if home is not None else ():
        if isinstance(quantizer, MapQuantize):
            assert home is not None
            home[key] = quantizer.frozen()


def frozen_maps(model: nn.Module) -> dict[str, FrozenMap]:
    """Key in `Quantizers` -> what stands there, of a model whose maps are all frozen."""
    home = quantizers_of(model)
    return {key: module for key, module in home.items() if isinstance(module, FrozenMap)} if home is not None else {}


def _executed(graph: fx.Graph, place: str) -> Callable[..., Any]:
    """The graph as a function of the model and its inputs; its lines stand under `place` in tracebacks."""
    code = graph.python_code("self")
    linecache.cache[place] = (len(code.src), None, code.src.splitlines(keepends=True), place)
    known = dict(code.globals)
    exec(compile(code.src, place, "exec"), known)
    return known["forward"]


def _dispatch(
    training: Callable[..., Any], evaluation: Callable[..., Any], parameters: Mapping[str, inspect.Parameter]
) -> Callable[..., Any]:
    """Both modes as one function with the parameters and defaults of the model's own, so that export keeps their names.
    DataError where one that is part of the graphs is given another value."""
    names = [name for name in inspect.signature(evaluation).parameters if name != "self"]
    defaults = {name: p.default for name, p in parameters.items() if p.default is not p.empty}
    fixed = {name: value for name, value in defaults.items() if name not in names}
    given = {name: defaults[name] for name in names if name in defaults}
    check = f"    _refuse_others(_fixed, dict({', '.join(f'{name}={name}' for name in fixed)}), _error)\n"
    source = (
        f"def forward({', '.join(['self', *names, *fixed])}):\n{check if fixed else ''}"
        f"    return (_training if self.training else _evaluation)({', '.join(['self', *names])})\n"
    )
    known: dict[str, Any] = {"_training": training, "_evaluation": evaluation}
    known |= {"_fixed": fixed, "_refuse_others": refuse_others, "_error": DataError}
    exec(source, known)
    known["forward"].__defaults__ = (*given.values(), *fixed.values())  # pyright: ignore[reportFunctionMemberAccess]
    return known["forward"]


def _has(model: nn.Module, target: str) -> bool:
    owner, _, name = target.rpartition(".")
    try:
        return hasattr(model.get_submodule(owner), name)
    except AttributeError:
        return False
