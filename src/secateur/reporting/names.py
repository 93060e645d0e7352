"""Names of tensors where there is little room: what many share is left out, what tells them apart stays."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile


def told_apart(names: Sequence[str]) -> list[str]:
    """The names without the dotted parts that all of them begin and end with: "body.0.fc.weight" and "body.1.fc.weight"
    become "0" and "1". At least one part of each stays; where there is nothing to tell apart, all of it."""
    if len(set(names)) < 2:
        return list(names)
    parts = [name.split(".") for name in names]
    spare = min(map(len, parts)) - 1
    start = min(_alike(parts), spare)
    end = min(_alike([part[::-1] for part in parts]), spare - start)
    return [".".join(part[start : len(part) - end]) for part in parts]


def _alike(parts: Sequence[Sequence[str]]) -> int:
    """How many parts all begin with."""
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*parts, strict=False)))


def cut(name: str, room: int) -> str:
    """At most `room` letters, the middle left out: where a layer is and what it is stand at its ends."""
    if len(name) <= room:
        return name
    end = max(1, (room - 1) // 2)
    return f"{name[: max(0, room - 1 - end)]}…{name[-end:]}"
