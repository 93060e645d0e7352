"""What a verb prints: a result on standard output, as text for people or JSON for programs, and all else on standard
error."""

from __future__ import annotations

import errno
import json
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from secateur.cli.exits import printable
from secateur.errors import DataError
from secateur.ir.storage import check_folder, write_whole

AsJSON = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else, on standard output.")]


def show_result(text: str, data: Mapping[str, Any], *, as_json: bool) -> None:
    """The result in the form that was asked for. DataError where standard output takes nothing more."""
    try:
        typer.echo(json.dumps(_plain(data), indent=1, allow_nan=False) if as_json else printable(text))
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise  # nobody reads on, as behind `| head`: no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left would fail once more at the end
        raise DataError(f"cannot write the result to standard output: {error.strerror}") from None


def note(line: str) -> None:
    """A remark that is no part of the result."""
    typer.echo(printable(line), file=sys.stderr)


def check_writable(path: Path) -> None:
    """DataError where no file could be written under `path`: to be asked before long work, not after it."""
    if path.exists() and not path.is_file():
        raise DataError(f"cannot write {path}: it is there and is no ordinary file; choose another name with -o")
    check_folder(path.parent)


def write_file(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, and say so where it replaces another one."""
    check_writable(path)
    replaced = path.exists()
    write_whole(path, data)
    if replaced:
        note(f"{path} was there and has been replaced")


def _plain(data: Any) -> Any:
    """Data that JSON can hold: numbers that are not finite become null, paths text."""
    if isinstance(data, Mapping):
        return {str(key): _plain(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_plain(value) for value in data]
    if isinstance(data, Path):
        return str(data)
    return None if isinstance(data, float) and not math.isfinite(data) else data
