"""Machine code on disk, in a folder of this user alone: compiled once, loaded from then on.

A file is named by a hash of everything its content follows from, is written whole or not at all, and carries a
checksum, so a damaged file counts as absent. Code that others could have written is never loaded.
"""

from __future__ import annotations

import hashlib
import os
import stat
import warnings
from pathlib import Path

from secateur.errors import ArtifactError, SecateurWarning
from secateur.ir.storage import write_whole

MAGIC = b"secateur object 1\n"
CHECKSUM_BYTES = 32
MAX_BYTES = 16 << 20
READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/secateur/kernels, by default below ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "secateur" / "kernels"


def read_object(key: str) -> bytes | None:
    """The content stored under a key, or None where there is none that can be trusted."""
    folder = _private_folder()
    if folder is None:
        return None
    try:
        descriptor = os.open(f"{folder}/{key}", READ)
    except OSError:
        return None
    try:
        found = os.fstat(descriptor)
        if not _private(found, stat.S_ISREG) or found.st_size > MAX_BYTES:
            return None
        content = os.read(descriptor, found.st_size)  # cut short, the checksum does not fit
    finally:
        os.close(descriptor)
    head, body = content[: len(MAGIC) + CHECKSUM_BYTES], content[len(MAGIC) + CHECKSUM_BYTES :]
    return body if head == MAGIC + _checksum(key, body) else None


def write_object(key: str, content: bytes) -> None:
    """Keep content under a key. Where that is not possible a warning says so, and the next process compiles again."""
    folder = _private_folder()
    if folder is None:
        return
    path = folder / key
    try:
        write_whole(path, MAGIC + _checksum(key, content) + content)
        path.chmod(0o600)
    except (ArtifactError, OSError) as error:
        warnings.warn(f"compiled code is not kept: {error}", SecateurWarning, stacklevel=2)


def drop_objects(prefix: str) -> int:
    """Delete what is stored under keys that begin so; how many there were."""
    folder = _private_folder()
    found = [] if folder is None else [path for path in folder.iterdir() if path.name.startswith(prefix)]
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)


def _checksum(key: str, content: bytes) -> bytes:
    return hashlib.sha256(key.encode() + content).digest()


def _private_folder() -> Path | None:
    """The folder, made where it is missing; None, with a warning, where it is not this user's alone."""
    folder = "the cache folder"
    try:
        folder = cache_folder()
        try:
            found = os.lstat(folder)
        except FileNotFoundError:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = os.lstat(folder)
    except (OSError, RuntimeError) as error:  # RuntimeError: this user has no home
        reason = str(error)
    else:
        if _private(found, stat.S_ISDIR):
            return folder
        reason = "it belongs to someone else or others may write to it; make it yours alone with chmod 700"
    warnings.warn(f"{folder} cannot keep compiled code: {reason}", SecateurWarning, stacklevel=3)
    return None


def _private(found: os.stat_result, kind: object) -> bool:
    owned = not hasattr(os, "getuid") or (found.st_uid == os.getuid() and not found.st_mode & 0o077)
    return owned and callable(kind) and bool(kind(found.st_mode))
