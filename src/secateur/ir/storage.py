"""Files that are there whole or not at all, and folders that take them."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

from secateur.errors import ArtifactError, DataError


def write_whole(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` under `path` through a temporary file beside it, so that readers see the old file or the new one.

    ArtifactError where that fails (disk full, no permission, no such folder): the old file is then as it was, and
    nothing is left behind.
    """
    target = Path(path).resolve()
    beside = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        try:
            with open(beside, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, target)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise ArtifactError(
            f"cannot write {path}: {error.strerror or error}; nothing was changed, choose another place or make room"
        ) from error


def read_plainly(path: str) -> bytes:
    """All of a small file, by three system calls: where many are read within a millisecond, `open` takes most of it."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        return os.read(descriptor, os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)


def output_folder(path: Path) -> Path:
    """The folder, made where it is missing; DataError unless files can be written into it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot make the folder {path}: {error.strerror}; choose another one with -o") from None
    check_folder(path)
    return path


def check_folder(folder: Path) -> None:
    """DataError unless files can be written into the folder: to be asked before long work, not after it."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise DataError(f"cannot write into {folder}: {error.strerror}; choose another place with -o") from None
