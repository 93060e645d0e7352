"""Matrix products, attention and embedding: special values and inputs that do not fit. Their laws are in tests/laws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from secateur.errors import DataError, GraphError
from secateur.ir.graph import ValueType
from secateur.ir.ops import OPS
from secateur.ir.ops.linear import attention, embedding

F = ValueType
BOOL = "bool"


def test_a_query_that_sees_nothing_gets_zeros() -> None:
    q = np.ones((2, 3), np.float32)
    mask = np.array([[True, False], [False, False]])
    y = attention(q, q, np.array([[1], [2]], np.float32), mask, scale=1.0, causal=False)
    np.testing.assert_array_equal(y, [[1], [0]])


def test_causal_counts_from_the_first_key() -> None:
    """With fewer queries than keys, query i still sees the keys 0 .. i (torch's is_causal)."""
    q, k = np.zeros((2, 1), np.float32), np.zeros((3, 1), np.float32)
    v = np.array([[2], [4], [100]], np.float32)
    np.testing.assert_array_equal(attention(q, k, v, scale=1.0, causal=True), [[2], [3]])


def test_large_scores_do_not_overflow() -> None:
    q = np.full((1, 1), 1e4, np.float32)
    k = np.array([[1e4], [-1e4]], np.float32)
    y = attention(q, k, np.array([[1], [2]], np.float32), scale=1.0, causal=False)
    np.testing.assert_array_equal(y, [[1]])


@pytest.mark.parametrize("ids", [[0, 3], [-1]])
def test_ids_outside_the_table(ids: list[int]) -> None:
    with pytest.raises(DataError, match="from 0 to 2; found"):
        embedding(np.array(ids), np.zeros((3, 2), np.float32))


HEADS = [F((-1, 2, 5, 4)), F((-1, 2, 7, 4)), F((-1, 2, 7, 3))]
SCALED = {"scale": 1.0, "causal": False}


@pytest.mark.parametrize(
    ("op", "types", "attributes", "message"),
    [
        ("linear", [F((-1, 4)), F((3, 5))], {}, r"x \(N, 4\) must end in the second size"),
        ("linear", [F((-4,)), F((3, 4))], {}, r"x \(4N,\) must end"),
        ("linear", [F(()), F((3, 4))], {}, "must end"),
        ("linear", [F((-1, 4)), F((4,))], {}, "must end"),
        ("linear", [F((-1, 4)), F((-3, 4))], {}, "must not depend on the batch"),
        ("linear", [F((-1, 4)), F((3, 4)), F((4,))], {}, r"bias must have shape \(3,\)"),
        ("linear", [F((-1, 4), "int64"), F((3, 4))], {}, "cast first"),
        ("matmul", [F((-1, 4)), F((4,))], {}, "reshape a vector first"),
        ("matmul", [F((-1, 4)), F((3, 4))], {}, "the last but one of b"),
        ("matmul", [F((-1, 2, 4)), F((2, 4, 1))], {}, "do not broadcast"),
        ("attention", HEADS[:1] * 2 + HEADS[2:], SCALED, "must be"),
        ("attention", [HEADS[0], F((-1, 2, 7, 5)), HEADS[2]], SCALED, "must be"),
        ("attention", [F((4,)), F((4,)), F((4,))], SCALED, "must be"),
        ("attention", [F((-1, 3, 5, 4)), *HEADS[1:]], SCALED, "do not broadcast"),
        ("attention", [*HEADS, F((5, 6), BOOL)], SCALED, "do not broadcast"),
        (
            "attention",
            [*HEADS, F((3, -1, 2, 5, 7), BOOL)],
            SCALED,
            r"mask \(3, N, 2, 5, 7\) must broadcast to the scores",
        ),
        ("attention", [*HEADS, F((5, 7), "int64")], SCALED, "mask works on bool or float32"),
        ("attention", [*HEADS, F((5, 7), BOOL)], SCALED | {"causal": True}, "not both"),
        ("attention", HEADS, SCALED | {"scale": float("inf")}, "scale must be finite"),
        ("embedding", [F((-1, 4)), F((3, 2))], {}, "ids works on int64"),
        ("embedding", [F((-1, 4), "int64"), F((3,))], {}, "must be a matrix"),
        ("embedding", [F((-1, 4), "int64"), F((-3, 2))], {}, "must not depend on the batch"),
    ],
)
def test_what_does_not_fit_is_refused(
    op: str, types: list[ValueType], attributes: dict[str, Any], message: str
) -> None:
    with pytest.raises(GraphError, match=message):
        OPS[op].shape(types, attributes)
