"""Batches of inputs without labels: what cutting at once and calibrating look at."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor

from secateur.errors import DataError
from secateur.nn.layer_inputs import Inputs
from secateur.train.task import inputs_of


def input_batches(batches: Iterable[Any]) -> list[Inputs]:
    """The inputs of every batch as a tuple of tensors. DataError where there are none, one is empty or not finite."""
    found: list[Inputs] = []
    for number, batch in enumerate(batches):
        given = inputs_of(batch)
        parts = cast(Inputs, tuple(given) if isinstance(given, tuple | list) else (given,))
        if not parts or not all(isinstance(part, Tensor) for part in parts):
            kind = type(batch).__name__
            raise DataError(f"calibration batch {number} is a {kind}, neither inputs nor (inputs, labels)")
        if any(part.numel() == 0 for part in parts):
            raise DataError(f"calibration batch {number} is empty")
        if not all(torch.isfinite(part).all() for part in parts):
            raise DataError(f"calibration batch {number} holds NaN or infinity")
        found.append(parts)
    if not found:
        raise DataError("there is no calibration batch: give a few")
    return found
