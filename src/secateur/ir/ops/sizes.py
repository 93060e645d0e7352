"""Arithmetic on the sizes of ir/graph.py (k static, -k for k times the batch) that several shape rules share."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from secateur.errors import GraphError
from secateur.ir.graph import ValueType

MAX_RANK = 16
MAX_ELEMENTS = 2**40  # of any value of one example: far above real networks, far below what overflows anything


def show(shape: Sequence[int]) -> str:
    """A shape as a reader expects it: -1 is N, -4 is 4N."""
    names = [str(size) if size >= 0 else "N" if size == -1 else f"{-size}N" for size in shape]
    return "(" + ", ".join(names) + ("," if len(names) == 1 else "") + ")"


def volume(shape: Sequence[int]) -> tuple[int, int]:
    """Number of elements as (coefficient, power of the batch): (-2, 3) has 6 N elements, so (6, 1)."""
    return prod(abs(size) for size in shape), sum(size < 0 for size in shape)


def need_dtype(op: str, dtypes: Sequence[str], *values: ValueType) -> None:
    """GraphError unless every value has the same one of these dtypes."""
    found = sorted({value.dtype for value in values})
    if len(found) != 1 or found[0] not in dtypes:
        raise GraphError(
            f"{op} works on {' or '.join(dtypes)}, all inputs alike, not on {', '.join(found)}; cast first"
        )


def need_float(op: str, *values: ValueType) -> None:
    """GraphError unless every value is float32."""
    need_dtype(op, ("float32",), *values)


def need_axes(op: str, axes: Sequence[int], rank: int) -> None:
    """GraphError unless the axes are different and each is one of 0 .. rank - 1."""
    if len(set(axes)) != len(axes) or not all(0 <= axis < rank for axis in axes):
        raise GraphError(
            f"{op}: axes {tuple(axes)} of a value with {rank} axes; name each at most once, from 0 to {rank - 1}"
        )


def need_static(op: str, shape: Sequence[int], what: str) -> None:
    """GraphError where a size depends on the batch."""
    if any(size < 0 for size in shape):
        raise GraphError(f"{op}: {what} {show(shape)} must not depend on the batch size N")


def need_shape(op: str, value: ValueType, shape: tuple[int, ...], what: str) -> None:
    """GraphError unless a value has exactly this shape."""
    if value.shape != shape:
        raise GraphError(f"{op}: {what} must have shape {show(shape)}, not {show(value.shape)}")


def broadcast(op: str, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The common shape under numpy's broadcasting. Only a static 1 stretches: a batch that happens to be 1 does not."""
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    result: list[int] = []
    for column in zip(*padded, strict=True):
        sizes = set(column) - {1}
        if len(sizes) > 1:
            raise GraphError(
                f"{op}: shapes {' and '.join(map(show, shapes))} do not broadcast; sizes must agree or be 1"
            )
        result.append(sizes.pop() if sizes else 1)
    return tuple(result)
