"""From a piece of code that is wanted to machine code in this process: memory, disk, compiler, in that order."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from secateur.errors import KernelError
from secateur.kernels.compiler import Library, compile_object, load_objects
from secateur.kernels.emitters import emitters
from secateur.kernels.object_cache import read_object, write_object
from secateur.kernels.target import Target


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
    return built_together([unit], target)[0]


def built_together(units: Sequence[CodeUnit], target: Target) -> list[Library]:
    """The code of units that export different names, loaded by one link."""
    with _loading:
        missing = [unit for unit in units if (unit, target.name) not in _loaded]
        if missing:
            code = _loaded_at_once(missing, target)
            _loaded.update({(unit, target.name): code for unit in missing})
        return [_loaded[unit, target.name] for unit in units]


def is_kept(unit: CodeUnit, target: Target) -> bool:
    """Whether the unit's code is on disk."""
    return read_object(_key(unit, target)) is not None


def keep(unit: CodeUnit, target: Target, content: bytes) -> None:
    """Write the unit's code to disk, as `compile_object` made it."""
    write_object(_key(unit, target), content)


def _loaded_at_once(units: Sequence[CodeUnit], target: Target) -> Library:
    """From disk where all can be loaded from there; else compiled, and the files replaced."""
    names = [name for unit in units for name in unit.exports]
    contents = [read_object(_key(unit, target)) or _compiled(unit, target) for unit in units]
    try:
        return load_objects(contents, names, target)
    except KernelError:
        return load_objects([_compiled(unit, target) for unit in units], names, target)


def _compiled(unit: CodeUnit, target: Target) -> bytes:
    content = compile_object(unit.emit(), target)
    keep(unit, target, content)
    return content


def _key(unit: CodeUnit, target: Target) -> str:
    """A hash of everything the machine code follows from."""
    parts = (emitters(), unit.kind, *unit.exports, unit.made_from, repr(target), target.triple)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
