"""load_task(): a user's task by the name of the function that builds it, `file.py:function` or `module:function`."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from secateur.errors import DataError
from secateur.ir.rules import near
from secateur.train.task import Task

FORM = "a task is named file.py:function or module:function"


def load_task(name: str) -> Task:
    """Call the function and return its Task. DataError says what is wrong with the name or with what came back; errors
    of the user's own code pass through with their traceback.

    The file's folder (for a module: the current one) is put first on the import path, as `python file.py` has it, and
    stays there, as a loss, a data set or a forward may import only when it runs; unless the task cannot be had.
    """
    source, colon, function = name.rpartition(":")
    if not colon or not source or not function.isidentifier():
        raise DataError(f"{name!r}: {FORM}")
    path = Path(source)
    is_file = path.suffix == ".py" or path.is_file()
    if is_file and not path.is_file():
        raise DataError(f"{name!r}: there is no file {path}")
    with _importable(path.parent if is_file else Path()):
        module = _from_file(path) if is_file else _from_name(name, source)
        task = _builder(name, module, function)()
        if not isinstance(task, Task):
            raise DataError(f"{name!r} returned {type(task).__name__}, not a secateur.Task")
    return task


def _from_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"task_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise DataError(f"{path} is no Python file: {FORM}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickles look their module up by name
    spec.loader.exec_module(module)
    return module


def _from_name(name: str, source: str) -> ModuleType:
    if source.startswith("."):  # relative to what?
        raise DataError(f"{name!r}: {source!r} is no module's name; {FORM}")
    try:
        return importlib.import_module(source)
    except ModuleNotFoundError as error:
        # A module that the user's own module lacks is another matter: that traceback is theirs.
        if error.name is None or not f"{source}.".startswith(f"{error.name}."):
            raise
        raise DataError(f"{name!r}: there is no module {error.name!r} here; {FORM}") from None


def _builder(name: str, module: ModuleType, function: str) -> Callable[[], object]:
    found = getattr(module, function, None)
    if not callable(found):
        functions = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        raise DataError(f"{name!r}: {module.__name__} has no function {function!r}{near(function, functions)}")
    required = [
        parameter.name
        for parameter in inspect.signature(found).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if required:
        raise DataError(f"{name!r} is called without arguments, but it needs {', '.join(required)}: give them defaults")
    return found


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """The folder first on the import path, for good unless something is raised inside."""
    entry = str(folder.resolve())
    sys.path.insert(0, entry)
    try:
        yield
    except BaseException:
        sys.path.remove(entry)
        raise
