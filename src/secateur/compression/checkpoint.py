"""A run's state on disk: whole or not at all, checked when it is read, the last good one and the one before it.

A file is a magic line, the SHA-256 of what follows, and tensors with plain data as torch.save writes them; it is read
with weights_only=True, so a file cannot run code. Two files take turns: while one is written the other one stays.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from secateur.errors import ArtifactError, DataError, SecateurWarning, TrainingError
from secateur.ir.storage import write_whole

MAGIC = b"secateur run 1\n"
DIGEST_BYTES = hashlib.sha256().digest_size


def to_bytes(state: Mapping[str, Any]) -> bytes:
    """Tensors and plain data as a file."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    body = buffer.getvalue()
    return MAGIC + hashlib.sha256(body).digest() + body


def from_bytes(data: bytes) -> dict[str, Any]:
    """What `to_bytes` was given. DataError for a file that is damaged or no such file."""
    start = len(MAGIC) + DIGEST_BYTES
    body = data[start:]
    if data[: len(MAGIC)] != MAGIC or hashlib.sha256(body).digest() != data[len(MAGIC) : start]:
        raise DataError("it is damaged or was not written by a run")
    try:
        return torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise DataError(f"it holds more than tensors and plain data: {error}") from None


class Checkpoints:
    """The states of one run under one name in a folder; a newer one replaces the one before the last."""

    def __init__(self, folder: Path, name: str) -> None:
        self._slots = tuple(folder / f"{name}-{turn}.state" for turn in range(2))
        self._count = 0

    def load(self) -> dict[str, Any] | None:
        """The newest state that is whole, None where there is none at all. DataError where all are damaged."""
        found: list[dict[str, Any]] = []
        damaged: list[str] = []
        for path in self._slots:
            if path.exists():
                try:
                    found.append(from_bytes(path.read_bytes()))
                except (DataError, OSError) as error:
                    damaged.append(f"{path}: {error}")
        if damaged and not found:
            raise DataError(f"no state of this run can be read ({'; '.join(damaged)}): start again in another folder")
        if damaged:
            warnings.warn(f"{damaged[0]}; the other state is used, nothing is lost", SecateurWarning, stacklevel=2)
        if not found:
            return None
        newest = max(found, key=lambda kept: kept["count"])
        self._count = newest["count"]
        return newest["state"]

    def save(self, state: Mapping[str, Any]) -> None:
        """Keep a state. TrainingError where it cannot be written; the last one is then as it was."""
        count = self._count + 1
        try:
            write_whole(self._slots[count % 2], to_bytes({"count": count, "state": dict(state)}))
        except ArtifactError as error:
            raise TrainingError(
                f"the state of the run could not be kept, so it stops here: {error}. The last state stays: make room "
                "and give the same command again"
            ) from error
        self._count = count

    def remove(self) -> None:
        """Delete them."""
        for path in self._slots:
            path.unlink(missing_ok=True)
