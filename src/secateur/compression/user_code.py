"""The user's own code that a run depends on, as checksums: files, and what lies in none, as in a notebook."""

from __future__ import annotations

import hashlib
import inspect
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from secateur.errors import DataError
from secateur.train.task import Task

INSTALLED = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib"))
PACKAGE = Path(__file__).resolve().parents[1]


def user_code(task: Task, further: Iterable[Path]) -> dict[str, str]:
    """SHA-256 by name: of the files that define model, loss, metric and data, and of further ones, files of one name
    together, wherever they lie.

    A class or function of a session without a file (a notebook, `python -c`) is told by its own name and compared by
    its bytecode; what it calls is not. DataError for a file that cannot be read.
    """
    found: dict[str, set[str]] = {}
    for name, data in _pieces(task, further):
        found.setdefault(name, set()).add(hashlib.sha256(data).hexdigest())
    return {name: hashlib.sha256("".join(sorted(found[name])).encode()).hexdigest() for name in sorted(found)}


def _pieces(task: Task, further: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    """(name, what is compared) of the user's own code: not torch's, not of installed packages, not ours."""
    for path in further:
        yield path.name, _read(path)
    dataset = getattr(task.train, "dataset", None)
    objects = [*task.model.modules(), task.train, task.val, *([dataset] if dataset is not None else [])]
    called = [getattr(given, "func", given) for given in (task.loss, task.metric)]  # what a partial calls
    objects += [given for given in called if not inspect.isroutine(given) and not inspect.isclass(given)]
    for thing in [*(type(found) for found in objects), *called]:
        path = _file_of(thing)
        if path is None:
            if code := "\n".join(_bytecode(thing)):
                yield f"{thing.__qualname__} (in no file)", code.encode()
        elif not any(path.is_relative_to(base) for base in (*INSTALLED, PACKAGE)):
            yield path.name, _read(path)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"cannot read {path}, whose code a run is compared by: {error.strerror or error}; name files that are there"
        ) from None


def _file_of(thing: Any) -> Path | None:
    """Where a class or function was written; None where that is no file, or it is built in."""
    try:
        file = inspect.getsourcefile(thing)
    except (TypeError, OSError):  # built in, an object that is called; a class of a session without a file
        return None
    path = Path(file).resolve() if file else None
    return path if path and path.is_file() else None


def _bytecode(thing: Any) -> list[str]:
    """What a function does, or the functions of a class and of its bases that lie in no file either; nothing of what is
    not written in Python."""
    if not inspect.isclass(thing):
        code = getattr(inspect.unwrap(thing), "__code__", None) if inspect.isroutine(thing) else None
        return [_in_words(code)] if isinstance(code, CodeType) else []
    own = [base for base in thing.__mro__ if _file_of(base) is None]
    members = [(name, getattr(value, "fget", value)) for base in own for name, value in sorted(vars(base).items())]
    written = [(name, value) for name, value in members if isinstance(value, (FunctionType, staticmethod, classmethod))]
    return [f"{name}: {line}" for name, value in written for line in _bytecode(getattr(value, "__func__", value))]


def _in_words(code: CodeType) -> str:
    """Instructions, names and constants, without line numbers and files; sets in an order of their own."""
    constants = [_in_words(value) if isinstance(value, CodeType) else repr(_ordered(value)) for value in code.co_consts]
    return repr((code.co_code.hex(), code.co_names, code.co_varnames, constants))


def _ordered(value: object) -> object:
    return sorted(map(repr, value)) if isinstance(value, frozenset) else value
