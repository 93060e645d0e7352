"""Sums and means: precision, empty batches, axes that do not fit. Their laws are in tests/laws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from secateur.errors import GraphError
from secateur.ir.graph import ValueType
from secateur.ir.ops import OPS

ALL = {"axes": (0,), "keepdims": False}


def test_a_long_sum_is_rounded_once() -> None:
    x = np.full((300_000, 1), 0.1, np.float32)
    exact = np.float32(300_000 * np.float64(np.float32(0.1)))
    np.testing.assert_array_equal(OPS["sum"].run([x], ALL, 1), [exact])
    np.testing.assert_array_equal(OPS["mean"].run([x], ALL, 1), [np.float32(0.1)])


def test_an_empty_batch_has_no_mean_but_a_sum() -> None:
    x = np.zeros((0, 2), np.float32)
    assert np.isnan(OPS["mean"].run([x], ALL, 0)).all()
    np.testing.assert_array_equal(OPS["sum"].run([x], ALL, 0), [0, 0])


@pytest.mark.parametrize(
    ("op", "x", "attributes", "message"),
    [
        ("mean", ValueType((-1, 3)), ALL | {"axes": ()}, "list all axes"),
        ("mean", ValueType((-1, 3)), ALL | {"axes": (1, 1)}, "at most once"),
        ("sum", ValueType((-1, 3)), ALL | {"axes": (2,)}, "from 0 to 1"),
        ("sum", ValueType((-1, 3)), ALL | {"axes": (-1,)}, "ints from 0"),
        ("mean", ValueType((-1, 3), "int64"), ALL, "cast first"),
        ("sum", ValueType((-1, 3), "bool"), ALL, "cast first"),
    ],
)
def test_what_does_not_fit_is_refused(op: str, x: ValueType, attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        OPS[op].shape([x], attributes)
