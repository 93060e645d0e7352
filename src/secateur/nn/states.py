"""States that are buffers: None or a tensor, so that a checkpoint says whether a stage is soft or hard; taking over the
state of a copy; and tensors that stay float32 in a model of another dtype."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn


def take_states(
    stage: nn.Module, names: Iterable[str], state: Mapping[str, Tensor], prefix: str, device: torch.device
) -> None:
    """Before a state dict is loaded: the stage takes over which of these buffers are None there, instead of refusing a
    checkpoint of another state. A part of a state dict (strict=False) that holds nothing of this stage does not say
    that it was soft: the stage stays what it is, and torch reports its buffers as missing."""
    if not any(prefix + name in state for name in (*stage._parameters, *stage._buffers)):
        return
    for name in names:
        saved = state.get(prefix + name)
        setattr(stage, name, None if saved is None else torch.empty_like(saved, device=device))


def take_over(model: nn.Module, copy: nn.Module) -> None:
    """A copy's state into the model: all of it, even if Ctrl-C comes meanwhile."""
    state = copy.state_dict()
    try:
        model.load_state_dict(state)
    except BaseException:
        model.load_state_dict(state)
        raise


def in_float32(convert: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """What a module does to its tensors (`Module._apply`), without the dtype: model.half() and .double() leave ranges
    and scales what they are, so that weights stay on the grid they were trained on."""

    def moved(tensor: Tensor) -> Tensor:
        found = convert(tensor)
        return found if found.dtype == tensor.dtype else tensor.to(found.device)

    return moved
