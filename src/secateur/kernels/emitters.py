"""Which source emits the code of this process: its digest is part of every name that code and choices are kept under.

Reading and hashing a hundred files takes longer than all else about a kernel that comes from the cache. So the digest
is kept under what the system says of the files, and made again when any of them was written since.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
import time

from secateur.ir.storage import read_plainly
from secateur.kernels.compiler import PASSES
from secateur.kernels.object_cache import read_object, write_object
from secateur.kernels.target import LLVM

SETTLED_NS = 2_000_000_000
"""A file written within the coarsest step of a file system's clock could change once more without a trace."""


@functools.cache
def emitters() -> str:
    """The source of the emitters and the version of the compiler: with what a unit is made from they determine its text
    and code, and hashing them is a hundred times faster than emitting."""
    here = os.path.dirname(__file__)  # pathlib and importlib.resources would take longer than all the rest
    version = sys.modules["llvmlite"].__version__
    digest = source_digest([here, os.path.join(os.path.dirname(here), "maths")])
    return f"{digest} llvmlite {version} LLVM {LLVM.llvm_version_info} {PASSES}"


def source_digest(folders: list[str]) -> str:
    """SHA-256 over the names and contents of the Python files of these folders."""
    files = sorted((name, folder) for folder in folders for name in os.listdir(folder) if name.endswith(".py"))
    paths = [f"{folder}/{name}" for name, folder in files]
    known_as, settled = _state(paths)
    found = read_object(known_as)
    if found is not None:
        return found.decode()
    digest = hashlib.sha256()
    for (name, _), path in zip(files, paths, strict=True):
        content = read_plainly(path)
        digest.update(f"{name} {len(content)}\n".encode() + content)
    if settled and _state(paths)[0] == known_as:  # else it was read while someone wrote
        write_object(known_as, digest.hexdigest().encode())
    return digest.hexdigest()


def _state(paths: list[str]) -> tuple[str, bool]:
    """A name for what the system says of files, and whether none of them was written just now. Their time of change is
    the system's own: unlike that of modification nobody can set it back."""
    told, newest = [], 0
    for path in paths:
        found = os.stat(path)
        told.append((path, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev))
        newest = max(newest, found.st_mtime_ns, found.st_ctime_ns)
    return "sources-" + hashlib.sha256(repr(told).encode()).hexdigest(), newest + SETTLED_NS < time.time_ns()
