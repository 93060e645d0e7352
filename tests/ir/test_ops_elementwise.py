"""Arithmetic: dtypes and shapes. Its law is in tests/laws."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.errors import GraphError
from secateur.ir.graph import ValueType
from secateur.ir.ops import OPS

F = ValueType


@pytest.mark.parametrize(("op", "expected"), [("add", [4, 8]), ("sub", [2, 4]), ("mul", [3, 12])])
def test_integers_stay_integers(op: str, expected: list[int]) -> None:
    a, b = F((-1,), "int64"), F((), "int64")
    assert OPS[op].shape([a, b], {}) == a
    y = OPS[op].run([np.array([3, 6]), np.array([1, 2])], {}, 1)
    np.testing.assert_array_equal(y, expected)
    assert y.dtype == np.int64


@pytest.mark.parametrize("op", ["add", "sub", "mul", "div"])
def test_two_scalars_give_an_array(op: str) -> None:
    y = OPS[op].run([np.array(6, np.float32), np.array(3, np.float32)], {}, 1)
    assert isinstance(y, np.ndarray)
    assert (y.shape, y.dtype) == ((), np.float32)


@pytest.mark.parametrize(
    ("op", "a", "b", "message"),
    [
        ("add", F((-1, 3)), F((4,)), r"\(N, 3\) and \(4,\) do not broadcast"),
        ("add", F((-1, 3)), F((2, 3)), "do not broadcast"),
        ("mul", F((-1, 3)), F((-2, 3)), "do not broadcast"),
        ("add", F((3,)), F((3,), "int64"), "cast first"),
        ("sub", F((3,), "bool"), F((3,), "bool"), "cast first"),
        ("div", F((3,), "int64"), F((3,), "int64"), "cast first"),
    ],
)
def test_what_does_not_fit_is_refused(op: str, a: ValueType, b: ValueType, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        OPS[op].shape([a, b], {})
