"""Exact matrices and transforms as plain data, and back from text that a stranger may have written."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from itertools import pairwise
from math import prod
from typing import Any

from secateur.errors import AlgorithmError
from secateur.maths.exact_matrix import ExactMatrix, exact
from secateur.maths.transform import Stage, Transform

MOST_CELLS = 2**20
MOST_CHARACTERS = 2**26
MOST_STEPS = 2**25  # multiplications of long integers to make one matrix of a transform's stages: some seconds
MOST_EXTENT = 64
MOST_STAGES = 16
SAFE_INTEGER = 2**53
"""Integers beyond this are written as text: some readers of JSON round them."""

_RECIPE = re.compile(r"[x0-9^+/,| inf-]*")
_FRACTION = re.compile(r"-?\d{1,100}(/\d{1,100})?")


def plain_matrix(matrix: ExactMatrix) -> list[list[int | str]]:
    """Rows of integers, and of text "p/q" where an entry is none."""
    return [[_plain_number(entry) for entry in row] for row in matrix.rows()]


def plain_transform(transform: Transform) -> list[dict[str, Any]]:
    """The stages, the first one applied first."""
    return [{"before": s.before, "after": s.after, "matrix": plain_matrix(s.matrix)} for s in transform.stages]


def read_object(text: str) -> dict[str, Any]:
    """The object in a JSON text; AlgorithmError where there is none."""
    if len(text) > MOST_CHARACTERS:
        raise AlgorithmError(f"an algorithm is read from {MOST_CHARACTERS:,} characters at most, not {len(text):,}")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is a plain ValueError
        raise AlgorithmError(f"this is not JSON: {error}") from None
    return read_dict(data)


def read_dict(data: object) -> dict[str, Any]:
    """An object; AlgorithmError for anything else."""
    if not isinstance(data, dict):
        raise AlgorithmError(f"expected an object, got {_shown(data)}")
    return data


def check_keys(data: dict[str, Any], wanted: set[str]) -> None:
    """AlgorithmError unless exactly these keys are there."""
    if set(data) != wanted:
        wrong = sorted(set(data) ^ wanted)
        raise AlgorithmError(f"an algorithm has the keys {', '.join(sorted(wanted))}; missing or unknown: {wrong[:5]}")


def read_list(data: object, *, most: int) -> list[Any]:
    """A list of at most `most` items."""
    if not isinstance(data, list) or len(data) > most:
        raise AlgorithmError(f"expected a list of at most {most} items, got {_shown(data)}")
    return data


def read_text(data: object) -> str:
    """A short text."""
    if not isinstance(data, str) or len(data) > 1000:
        raise AlgorithmError(f"expected a text of at most 1000 characters, got {_shown(data)}")
    return data


def read_recipe(data: object) -> str:
    """Moduli as text; nothing else, since it becomes part of generated source."""
    text = read_text(data)
    if not _RECIPE.fullmatch(text):
        raise AlgorithmError(f"a recipe is moduli such as 'x, x^6-1, inf', got {_shown(text)}")
    return text


def read_count(data: object, *, most: int) -> int:
    """An integer from 1 to `most`."""
    if not isinstance(data, int) or isinstance(data, bool) or not 1 <= data <= most:
        raise AlgorithmError(f"expected an integer from 1 to {most}, got {_shown(data)}")
    return data


def read_extents(data: object) -> tuple[int, ...]:
    """One to three extents."""
    found = tuple(read_count(extent, most=MOST_EXTENT) for extent in read_list(data, most=3))
    if not found:
        raise AlgorithmError("an algorithm has one to three dimensions, not none")
    return found


def read_matrix(data: object) -> ExactMatrix:
    """A matrix from its rows."""
    rows = [read_list(row, most=MOST_CELLS) for row in read_list(data, most=MOST_CELLS)]
    if not rows or not rows[0] or len({len(row) for row in rows}) != 1:
        raise AlgorithmError("a matrix is a list of rows of one length, not empty")
    if len(rows) * len(rows[0]) > MOST_CELLS:
        raise AlgorithmError(f"a matrix of {len(rows)} x {len(rows[0])} is beyond {MOST_CELLS:,} entries")
    return exact([[_number(entry) for entry in row] for row in rows])


def read_transform(data: object) -> Transform:
    """A transform from its stages, which must fit one another."""
    stages = tuple(_stage(read_dict(one)) for one in read_list(data, most=MOST_STAGES))
    sizes = [[stage.repeats * extent for extent in stage.matrix.shape] for stage in stages]
    if not stages or any(one[0] != two[1] for one, two in pairwise(sizes)):
        raise AlgorithmError("the stages of a transform do not fit one another")
    if any(prod(size) > MOST_CELLS for size in sizes):
        raise AlgorithmError(f"a stage is beyond {MOST_CELLS:,} entries")
    inputs = sizes[0][1]
    steps = inputs * sum(size[0] * stage.matrix.shape[1] for size, stage in zip(sizes[1:], stages[1:], strict=True))
    if steps > MOST_STEPS:
        raise AlgorithmError("the stages of a transform take too long to multiply: write fewer or smaller ones")
    return Transform(stages)


def _stage(data: dict[str, Any]) -> Stage:
    check_keys(data, {"before", "after", "matrix"})
    before, after = (read_count(data[key], most=MOST_CELLS) for key in ("before", "after"))
    return Stage(read_matrix(data["matrix"]), before, after)


def _plain_number(entry: Fraction) -> int | str:
    return entry.numerator if entry.denominator == 1 and abs(entry) < SAFE_INTEGER else str(entry)


def _number(entry: object) -> int | Fraction:
    if isinstance(entry, int) and not isinstance(entry, bool) and entry.bit_length() <= 400:
        return entry
    if isinstance(entry, str) and _FRACTION.fullmatch(entry) and not re.search(r"/0+$", entry):
        return Fraction(entry)
    raise AlgorithmError(f'an entry is an integer or text like "1/4", not {_shown(entry)}')


def _shown(data: object) -> str:
    return f"{type(data).__name__} {str(data)[:40]!r}" if isinstance(data, (str, bool, float)) else type(data).__name__
