"""What a traced model was called with, beside tensors and numbers: part of its graph, so another value is refused."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import NoneType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from secateur.errors import SecateurError
from secateur.nn.fx_graph import difference, names_of_inputs

SETTINGS = (NoneType, bool, str, bytes, Enum, type, torch.dtype, torch.device, torch.layout, torch.memory_format)
"""What code asks with `is`, `if` or as a key, which a stand-in answers wrongly or not at all."""
INSTEAD = (
    ": give it in the example (what is taken by keyword alone: as its default), or call the model as it was before"
)


@dataclass(frozen=True)
class Arguments:
    """How a model was called when it was traced.

    signature  of its forward, without annotations
    names      of the inputs that the graph takes
    settings   name of an input -> the settings in it
    fixed      name of an argument that was left out -> its default
    """

    signature: inspect.Signature
    names: tuple[str, ...]
    settings: Mapping[str, list[Any]]
    fixed: Mapping[str, Any]

    @classmethod
    def of(cls, model: nn.Module, inputs: tuple[Any, ...]) -> Arguments:
        """Of a model that is called with these inputs."""
        parameters = [p.replace(annotation=p.empty) for p in inspect.signature(model.forward).parameters.values()]
        names = tuple(names_of_inputs(model, len(inputs)))
        settings = {name: found for name, value in zip(names, inputs, strict=True) if (found := _settings(value))}
        left = {p.name: p.default for p in parameters if p.name not in names and p.default is not p.empty}
        return cls(inspect.Signature(parameters), names, settings, left)

    @property
    def parts_of_the_graph(self) -> str:
        """ "mask=None, mode='fast'": every argument that takes no other value; empty where there is none."""
        told = {name: values[0] for name, values in self.settings.items() if len(values) == 1}
        return ", ".join(f"{name}={_shown(value)}" for name, value in (told | dict(self.fixed)).items())

    def inputs_of(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], error: type[SecateurError]
    ) -> tuple[Any, ...]:
        """What the graph takes of a call; `error` where the call asks for another graph, TypeError where Python itself
        would raise it."""
        usual = not kwargs and not self.settings and len(args) == len(self.names)
        if usual and all(isinstance(value, Tensor) for value in args):
            return args  # without the microseconds of what follows
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        args, count = bound.args, len(self.names)
        for name, value in zip(self.names, args, strict=False):
            found, known = _settings(value), self.settings.get(name, [])
            if len(found) != len(known) or not all(map(_same, known, found)):
                raise error(_refused(name, value, _shown(known[0]) if known else "a value of another kind"))
        if len(args) != count:
            self._refuse_others(args, error)
        refuse_others(self.fixed, bound.kwargs, error)
        return args[:count]

    def _refuse_others(self, args: tuple[Any, ...], error: type[SecateurError]) -> None:
        """Of the arguments by position: those behind the graph's inputs; and fewer than these."""
        count = len(self.names)
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        named = [p.name for p in self.signature.parameters.values() if p.kind in kinds]
        if len(args) < count or len(args) > max(count, len(named)):
            raise error(f"the model was traced with {count} arguments, and this call has {len(args)}{INSTEAD}")
        refuse_others(self.fixed, dict(zip(named[count:], args[count:], strict=True)), error)


def settings_of(inputs: tuple[Any, ...]) -> dict[int, Any]:
    """Number of an input -> its value, where that is a setting as a whole: what `calls_of` takes as a constant."""
    return {number: value for number, value in enumerate(inputs) if isinstance(value, SETTINGS)}


def refuse_others(fixed: Mapping[str, Any], given: Mapping[str, Any], error: type[SecateurError]) -> None:
    """`error` where an argument is given another value than the graph was traced with."""
    for name, value in given.items():
        if name not in fixed:
            raise error(f"the model was traced without an argument {name!r}{INSTEAD}")
        if not _same(fixed[name], value):
            raise error(_refused(name, value, _shown(fixed[name])))


def _settings(value: Any) -> list[Any]:
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, SETTINGS)]


def _same(known: Any, value: Any) -> bool:
    """2 and 2.0 are, True and 1 are not."""
    first, second = (
        Tensor if isinstance(one, Tensor) else float if type(one) is int else type(one) for one in (known, value)
    )
    return known is value or (first is second and difference(known, value) == 0.0)


def _shown(value: Any) -> str:
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)


def _refused(name: str, value: Any, known: str) -> str:
    return f"the argument {name} was {known} when the model was traced, and cannot be {_shown(value)} now{INSTEAD}"
