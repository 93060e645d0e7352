"""A verb whose arguments are the fields of a dataclass: one value to pass on instead of many parameters."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, get_type_hints

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
