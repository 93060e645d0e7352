"""JSON as an artifact's header uses it (RFC 8259, narrowed): compact, UTF-8, no key twice, finite numbers, shallow.

What Python's json reads loosely (NaN, the last of two equal keys, half of a surrogate pair) is refused here, so that
no two readers can understand one file differently.
"""

from __future__ import annotations

import json
from math import isfinite
from typing import TypeAlias

from secateur.errors import ArtifactError

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"
MOST_DEPTH = 16
INT_LIMIT = 2**63


def to_json(value: JSON, what: str) -> bytes:
    """Compact bytes that `from_json` reads back equal; ArtifactError naming `what` where JSON cannot hold it."""
    _check(value, what, 0)
    return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()


def from_json(data: bytes, what: str) -> JSON:
    """The value; ArtifactError naming `what` for anything but strict JSON."""
    try:
        value = json.loads(
            data.decode(), object_pairs_hook=_object, parse_constant=_refuse_constant, parse_float=_finite
        )
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise ArtifactError(f"damaged artifact: {what} is no strict JSON ({error})") from error
    _check(value, what, 0)
    return value


def _check(value: object, what: str, depth: int) -> None:
    """Whether a value survives the way through JSON unchanged."""
    if depth > MOST_DEPTH:
        raise ArtifactError(f"{what} is nested deeper than {MOST_DEPTH} levels")
    if isinstance(value, str):
        _check_text(value, what)
    elif type(value) is list:
        for item in value:
            _check(item, what, depth + 1)
    elif type(value) is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise ArtifactError(f"{what} has a key of type {type(key).__name__}: JSON keys are text")
            _check_text(key, what)
            _check(item, what, depth + 1)
    elif type(value) is int and not -INT_LIMIT <= value < INT_LIMIT:
        raise ArtifactError(f"{what} holds an integer beyond 64 bits")
    elif type(value) is float and not isfinite(value):
        raise ArtifactError(f"{what} holds {value}: only finite numbers can be stored")
    elif value is not None and type(value) not in (bool, int, float):
        raise ArtifactError(
            f"{what} holds a {type(value).__name__}: use None, bool, int, float, str, lists and dicts of them"
        )


def _check_text(text: str, what: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ArtifactError(f"{what} holds text that is no Unicode: {text!r}") from error


def _object(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _finite(text: str) -> float:
    if not isfinite(value := float(text)):
        raise ValueError(f"{text} is beyond every float")
    return value
