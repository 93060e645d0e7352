"""copied(): a deep copy of a model, also of one whose modules hold results of autograd.

torch.nn.utils.prune, spectral_norm and weight_norm (the old one) set a weight that they have computed as an attribute
before every forward pass, and parametrized recurrent layers keep a list of theirs. Such a tensor is no leaf of
autograd, and torch refuses to copy it. Whoever has set it sets it anew in the next pass, of the copy too, so its
numbers are all that a copy needs.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TypeVar

from torch import Tensor, nn

from secateur.errors import PlanError
from secateur.nn.recomputed import recomputed

RECURRENT_WEIGHTS = "_flat_weights"
"""Where torch's recurrent layers keep theirs."""
Model = TypeVar("Model", bound=nn.Module)


def copied(model: Model) -> Model:
    """A deep copy, in which results of autograd are tensors of their own with the same numbers and no history; the
    model and what it holds stay as they are.

    PlanError for a model that keeps other results of autograd, which would not follow the parameters of the copy.
    """
    memo: dict[int, Tensor] = {}
    for place, tensor, set_anew in _results(model):
        if not set_anew:
            raise PlanError(
                f"{place} is what autograd has computed, kept between forward passes, and would not follow the "
                "parameters of a copy: compute it in forward, or, if no forward pass reads it, detach() it"
            )
        memo[id(tensor)] = tensor.detach().clone()
    try:
        return copy.deepcopy(model, memo)
    except RuntimeError as error:
        if "deepcopy protocol" not in str(error):
            raise
        raise PlanError(
            f"this {type(model).__name__} cannot be copied: an object that is no registered module holds a tensor that "
            "autograd has computed: register it, or compute the tensor in forward without keeping it"
        ) from error


def _results(model: nn.Module) -> Iterator[tuple[str, Tensor, bool]]:
    """What autograd has computed among the attributes of modules and in their lists, tuples and dictionaries, with the
    name of the attribute, and whether the next forward pass sets it anew."""
    for path, module in model.named_modules():
        anew = {*recomputed(module), *((RECURRENT_WEIGHTS,) if isinstance(module, nn.RNNBase) else ())}
        for name, value in vars(module).items():
            for tensor in _tensors(value, set()):
                if not tensor.is_leaf:
                    yield f"{path}.{name}" if path else name, tensor, name in anew


def _tensors(value: object, seen: set[int]) -> Iterator[Tensor]:
    """Of a value and the lists, tuples and dictionaries in it, which may hold themselves."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple | dict) and id(value) not in seen:
        seen.add(id(value))
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors(part, seen)
