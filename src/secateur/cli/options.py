"""Options of a verb: as the fields of a dataclass, one value to pass on instead of many parameters; and rules of
quantizing."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable
from typing import Any, TypeVar, get_type_hints

from secateur.errors import PlanError
from secateur.ir.rules import DYNAMIC, LEVELS, Quantize, named_rule

RANGE = re.compile(r"(\d+)-(\d+)")

Asked = TypeVar("Asked")


def verb(asked: type[Asked], run: Callable[[Asked], None]) -> Callable[..., None]:
    """A function for typer with a parameter a field, annotations and defaults included; its help is the class's
    docstring."""
    assert dataclasses.is_dataclass(asked)
    hints = get_type_hints(asked, include_extras=True)

    def command(**values: Any) -> None:
        run(asked(**values))

    parameters = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in dataclasses.fields(asked)
    ]
    command.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess]
    command.__annotations__ = {name: hints[name] for name in hints}
    command.__name__, command.__doc__ = run.__name__.removeprefix("run_"), asked.__doc__
    return command


def widths_from(text: str, option: str = "--bits") -> int | tuple[int, int] | set[int]:
    """Bit widths as `Quantize` takes them: "4", "2-8" or "2,4,8". option: what they were given as."""
    if found := RANGE.fullmatch(text):
        return int(found[1]), int(found[2])
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise PlanError(f"{option} {text!r}: one width (4), a range (2-8) or several (2,4,8)")
    return int(text) if len(parts) == 1 else {int(part) for part in parts}


def weight_rule(bits: str | None, level: str | None) -> Quantize | None:
    """The rule of --bits and --level; PlanError for a level of nothing."""
    if bits is None:
        if level is not None:
            raise PlanError("--level says nothing without --bits: give both, or neither")
        return None
    return Quantize(widths_from(bits), level=LEVELS[0] if level is None else level)


def map_rule(bits: str | None) -> Quantize | None:
    """The rule of --map-bits."""
    return None if bits is None else named_rule(bits if bits == DYNAMIC else Quantize(widths_from(bits, "--map-bits")))
