"""A checkpoint's weights into a task's model. Only tensors are read: a checkpoint cannot run code."""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from secateur.errors import DataError

NESTED = ("state_dict", "model_state_dict", "model")
"""Keys under which training scripts usually keep the state dict beside other things."""
DAMAGE = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    MemoryError,
    struct.error,
    zipfile.BadZipFile,
)
"""What torch.load raises on damaged bytes: its reader of pickles trusts that they are well formed."""


def state_of(path: Path) -> Mapping[str, Any]:
    """The state dict in a checkpoint file. DataError where there is none."""
    try:
        if zipfile.is_zipfile(path):
            _check_members(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    except DAMAGE:
        raise DataError(
            f"{path} is no checkpoint of tensors alone: write it with torch.save(model.state_dict(), path)"
        ) from None
    for key in NESTED:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not all(isinstance(name, str) for name in loaded):
        raise DataError(f"{path} holds a {type(loaded).__name__}, not a state dict: tensors by name")
    return loaded


def _check_members(path: Path) -> None:
    """ValueError for members that are compressed, which torch.save never does: they could unfold without limit."""
    with zipfile.ZipFile(path) as archive:
        if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
            raise ValueError("a compressed member")


def is_prepared(state: Mapping[str, Any]) -> bool:
    """Whether a state dict is that of a prepared model."""
    return any(".parametrizations." in f".{name}" for name in state)


def load_into(model: nn.Module, state: Mapping[str, Any], path: Path) -> None:
    """The state into the model, strictly; DataError names what does not fit."""
    try:
        model.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError, ValueError) as error:  # entries that are no tensors
        raise DataError(f"{path} does not fit the task's model: {error}") from None
