"""The two files of a page: HTML and its JSON twin."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from secateur.errors import DataError
from secateur.ir.storage import write_whole

ENDINGS = (".html", ".json")


class TwoForms(Protocol):
    """What can be saved as a page and as JSON."""

    def to_html(self) -> str: ...
    def to_json(self) -> str: ...


def save(made: TwoForms, path: str | Path) -> None:
    """Write the page or its JSON twin, by the ending of the path. DataError for another ending."""
    write_whole(path, written(made, path))


def written(made: TwoForms, path: str | Path) -> bytes:
    """What belongs into a file with this ending, .html or .json. DataError for another one."""
    writers = dict(zip(ENDINGS, (made.to_html, made.to_json), strict=True))
    suffix = Path(path).suffix.lower()
    if suffix not in writers:
        raise DataError(f"a report is {' or '.join(ENDINGS)}, not {Path(path).name!r}")
    return writers[suffix]().encode()


def json_text(kind: str, version: int, facts: Any) -> str:
    """A dataclass as JSON text that says what it is; numbers that are not finite are null."""
    return json.dumps(finite({kind: version, **dataclasses.asdict(facts)}), indent=1, allow_nan=False) + "\n"


def finite(data: Any) -> Any:
    """Plain data with null for every number that is not finite, tuples as lists."""
    if isinstance(data, Mapping):
        return {key: finite(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data
