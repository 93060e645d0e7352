"""A model in another mode for a while: every module is then again in the mode it was in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def mode_kept(model: nn.Module) -> Iterator[None]:
    """Every module is in training or evaluation afterwards as it was before."""
    modes = {module: module.training for module in model.modules()}
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
