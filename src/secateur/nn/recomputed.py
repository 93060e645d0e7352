"""Weights that torch.nn.utils.prune, spectral_norm and weight_norm (the old one) compute before every forward pass from
other tensors of their layer: which they are, how to undo it, and how to compute them for good or anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn
from torch.nn.utils import prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

Result = TypeVar("Result")


@dataclass(frozen=True)
class Maker:
    """A utility of torch's, which computes a weight in a forward pre-hook of this kind.

    names    attribute of the hook that holds the name of the weight
    sources  what the parameters are called that it computes from, behind the name of the weight
    undo     what makes the weight a parameter again
    """

    by: str
    kind: type
    names: str
    sources: tuple[str, ...]
    undo: str

    def undone(self, name: str) -> str:
        """What to do about a tensor of this name."""
        return f"{self.undo}(layer, {name!r}) first"

    def told(self, names: list[str]) -> str:
        """What it computes in a model, in words that do not grow with it."""
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        return f"{self.by} computes {names[0]}{more} before every forward pass"


PRUNE = Maker(
    "torch.nn.utils.prune", prune.BasePruningMethod, "_tensor_name", ("_orig",), "torch.nn.utils.prune.remove"
)
SPECTRAL_NORM = Maker(
    "torch.nn.utils.spectral_norm", SpectralNorm, "name", ("_orig",), "torch.nn.utils.remove_spectral_norm"
)
WEIGHT_NORM = Maker("torch.nn.utils.weight_norm", WeightNorm, "name", ("_g", "_v"), "torch.nn.utils.remove_weight_norm")
MAKERS = (PRUNE, SPECTRAL_NORM, WEIGHT_NORM)


class _Found(NamedTuple):
    """A hook of a module by its key, the name of the tensor that it computes, and what it is."""

    module: nn.Module
    key: int
    hook: Callable[..., Any]
    name: str
    maker: Maker


def recomputed(module: nn.Module) -> dict[str, Maker]:
    """Name of a tensor of this module alone -> what computes it, in the order in which that happens."""
    return {found.name: found.maker for found in _hooks(module)}


def all_recomputed(model: nn.Module) -> dict[Maker, list[str]]:
    """What computes tensors of a model -> their names."""
    found: dict[Maker, list[str]] = {}
    for path, module in model.named_modules():
        for name, maker in recomputed(module).items():
            found.setdefault(maker, []).append(f"{path}.{name}" if path else name)
    return found


@torch.no_grad()
def for_good_(model: nn.Module, run: Callable[[], Result]) -> Result:
    """Run a copy that is for inference, and make frozen parameters of what was computed for it in this run, in place;
    returns what the run gives.

    What it was computed from stays, as the model's code may read it. A layer that was not called keeps its hooks, and
    so does one with further hooks before it, which may work on what these compute.
    """
    held = [(found, getattr(found.module, found.name)) for found in _all(model) if _alone(found.module)]
    outputs = run()
    for (module, key, _, name, _), before in held:
        if (value := getattr(module, name)) is not before:
            del module._forward_pre_hooks[key]
            delattr(module, name)
            setattr(module, name, nn.Parameter(value, requires_grad=False))
    return outputs


@torch.no_grad()
def refresh_(model: nn.Module) -> None:
    """Compute all of them, as evaluation does, from parameters that have changed: code may read them before, or
    without, the forward pass of their layer."""
    for found in reversed(list(_all(model))):  # one may be computed from another, which is then computed later
        training, found.module.training = found.module.training, False  # power iterations would go on
        try:
            found.hook(found.module, ())
        finally:
            found.module.training = training


def _all(model: nn.Module) -> Iterator[_Found]:
    return (found for module in model.modules() for found in _hooks(module))


def _alone(module: nn.Module) -> bool:
    return len(list(_hooks(module))) == len(module._forward_pre_hooks)


def _hooks(module: nn.Module) -> Iterator[_Found]:
    for key, hook in module._forward_pre_hooks.items():
        for maker in MAKERS:
            if isinstance(hook, maker.kind):
                yield _Found(module, key, hook, getattr(hook, maker.names), maker)
