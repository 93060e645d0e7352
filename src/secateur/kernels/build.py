"""From a piece of code that is wanted to machine code in this process: memory, disk, compiler, in that order."""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from secateur.errors import KernelError
from secateur.kernels.compiler import PASSES, Library, compile_object, load_object
from secateur.kernels.object_cache import read_object, write_object
from secateur.kernels.target import LLVM, TARGETS, Target

COMPILE_SECONDS = 120


@dataclass(frozen=True)
class CodeUnit:
    """A module of code: what it is, the functions it exports, what it was made from, and how it is emitted.

    `made_from` must name everything the text depends on besides the emitters' own source: a unit is known by it.
    """

    kind: str
    exports: tuple[str, ...]
    made_from: str
    emit: Callable[[], str] = field(compare=False)


_loaded: dict[tuple[CodeUnit, str], Library] = {}
_loading = threading.Lock()
os.register_at_fork(
    before=_loading.acquire, after_in_parent=_loading.release, after_in_child=_loading.release
)  # a child forked while another thread loads would wait for ever


def built(unit: CodeUnit, target: Target) -> Library:
    """The unit's code, loaded. The same unit is loaded once a process and compiled once a machine."""
    with _loading:
        if (unit, target.name) not in _loaded:
            _loaded[unit, target.name] = _from_disk(unit, target) or _compiled(unit, target)
        return _loaded[unit, target.name]


def build_ahead(units: Iterable[CodeUnit], target: Target, *, processes: int) -> int:
    """Compile what is not on disk yet, in processes of their own as LLVM is locked within one; how many there were."""
    missing = [unit for unit in dict.fromkeys(units) if read_object(_key(unit, target)) is None]
    command = [sys.executable, "-m", "secateur.kernels.build", target.name]
    for first in range(0, len(missing), processes):
        group = missing[first : first + processes]
        running = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in group]
        pairs = zip(running, group, strict=True)
        threads = [threading.Thread(target=_feed, args=(one, unit, target)) for one, unit in pairs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return len(missing)


def _feed(process: subprocess.Popen[bytes], unit: CodeUnit, target: Target) -> None:
    try:
        content, _ = process.communicate(unit.emit().encode(), timeout=COMPILE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()  # whoever needs the unit compiles it
        process.communicate()
        return
    if process.returncode == 0:
        write_object(_key(unit, target), content)


def _from_disk(unit: CodeUnit, target: Target) -> Library | None:
    content = read_object(_key(unit, target))
    if content is None:
        return None
    try:
        return load_object(content, unit.exports, target)
    except KernelError:
        return None  # compiled again by the caller, and the file replaced


def _compiled(unit: CodeUnit, target: Target) -> Library:
    content = compile_object(unit.emit(), target)
    write_object(_key(unit, target), content)
    return load_object(content, unit.exports, target)


def _key(unit: CodeUnit, target: Target) -> str:
    """A hash of everything the machine code follows from."""
    parts = (emitters(), unit.kind, *unit.exports, unit.made_from, repr(target), target.triple)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@functools.cache
def emitters() -> str:
    """The source of the emitters and the version of the compiler: with what a unit is made from they determine its text
    and code, and hashing them is a hundred times faster than emitting."""
    digest = hashlib.sha256()
    here = os.path.dirname(__file__)  # pathlib and importlib.resources would take longer than all the rest
    for folder in (here, os.path.join(os.path.dirname(here), "maths")):
        for name in sorted(name for name in os.listdir(folder) if name.endswith(".py")):
            with open(os.path.join(folder, name), "rb", buffering=0) as file:
                digest.update(name.encode() + file.read())
    version = sys.modules["llvmlite"].__version__
    return f"{digest.hexdigest()} llvmlite {version} LLVM {LLVM.llvm_version_info} {PASSES}"


if __name__ == "__main__":
    sys.stdout.buffer.write(compile_object(sys.stdin.buffer.read().decode(), TARGETS[sys.argv[1]]))
