"""Frozen dataclasses back from JSON, by the types of their fields: whatever a file holds becomes one or a DataError."""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from secateur.errors import ArtifactError, DataError
from secateur.ir.rules import near
from secateur.ir.strict_json import JSON, from_json

Made = TypeVar("Made")
LARGEST = 1e100
"""Nothing a report measures is larger, and sums of such numbers are still finite."""


def json_object(data: bytes, what: str) -> dict[str, JSON]:
    """The object in strict JSON; DataError naming `what` for anything else."""
    try:
        value = from_json(data, what)
    except ArtifactError as error:
        raise DataError(str(error).removeprefix("damaged artifact: ")) from None
    if not isinstance(value, dict):
        raise DataError(f"{what} is {_named(value)}, not an object")
    return value


def made_from(kind: type[Made], data: Mapping[str, Any], where: str) -> Made:
    """A dataclass from the plain data that `dataclasses.asdict` and JSON make of it.

    null stands for NaN where a float is expected. Fields may be missing where they have a default; unknown ones are
    refused. DataError names the place: "report.layers[3].fate".
    """
    hints = get_type_hints(kind)
    fields = [field for field in dataclasses.fields(kind) if field.init]  # type: ignore[arg-type]
    names = [field.name for field in fields]
    for key in data:
        if key not in names:
            raise DataError(f"{where} has an unknown entry {key!r}{near(key, names)}")
    for field in fields:
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and field.name not in data:
            raise DataError(f"{where} lacks {field.name!r}")
    values = {key: _value(hints[key], value, f"{where}.{key}") for key, value in data.items()}
    try:
        return kind(**values)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None


def _value(kind: Any, data: Any, where: str) -> Any:
    origin = get_origin(kind)
    if origin is types.UnionType:  # X | None, the only union a report has
        return None if data is None else _value(get_args(kind)[0], data, where)
    if origin is tuple:
        return _tuple(get_args(kind), data, where)
    if origin is not None and issubclass(origin, Mapping):
        _, inner = get_args(kind)
        _expect(isinstance(data, dict), "an object", data, where)
        return {key: _value(inner, value, f"{where}[{key!r}]") for key, value in data.items()}
    if kind not in _PLAIN:
        _expect(isinstance(data, dict), "an object", data, where)
        return made_from(kind, data, where)
    words, fits = _PLAIN[kind]
    _expect(fits(data), words, data, where)
    if kind is float:
        return math.nan if data is None else float(data)
    return data


def _tuple(kinds: tuple[Any, ...], data: Any, where: str) -> tuple[Any, ...]:
    _expect(isinstance(data, list), "a list", data, where)
    if kinds[-1] is ...:
        kinds = kinds[:1] * len(data)
    _expect(len(kinds) == len(data), f"a list of {len(kinds)}", data, where)
    return tuple(_value(kind, value, f"{where}[{n}]") for n, (kind, value) in enumerate(zip(kinds, data, strict=True)))


_PLAIN: dict[type, tuple[str, Callable[[Any], bool]]] = {
    str: ("text", lambda v: isinstance(v, str)),
    bool: ("true or false", lambda v: isinstance(v, bool)),
    int: ("a whole number, not negative", lambda v: type(v) is int and v >= 0),
    float: (
        "a number of at most 1e100, or null",
        lambda v: v is None or (type(v) in (int, float) and abs(v) <= LARGEST),
    ),
}
"""Every count, size and shape of a report is whole and not negative."""


def _expect(right: bool, words: str, data: Any, where: str) -> None:
    if not right:
        raise DataError(f"{where} is {_named(data)}, not {words}")


def _named(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
