"""What a row checks before its rule sees anything: arity and attributes of every kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from secateur.errors import GraphError
from secateur.ir.graph import ValueType
from secateur.ir.ops.op import FLOAT32_MAX, Kind, Op

X = ValueType((-1,))


def row(kind: Kind) -> Op:
    return Op("row", (1, 2), lambda *types, value: types[0], lambda *arrays, value: np.array(value), {"value": kind})


GOOD: list[tuple[Kind, Any]] = [
    *[("bool", value) for value in (True, False)],
    *[("int", value) for value in (0, 7, 2**40)],
    *[("float", value) for value in (0.0, -1.5, FLOAT32_MAX, float("inf"), float("-inf"))],
    *[("ints", value) for value in ((), (0, 3), (2**40,) * 32)],
    *[("shape", value) for value in ((), (-1, 3), (-(2**40),) * 16)],
    *[(("a", "b"), value) for value in ("a", "b")],
]
BAD: list[tuple[Kind, Any]] = [
    *[("bool", value) for value in (0, 1, None, "True", 1.0, np.bool_(True))],
    *[("int", value) for value in (-1, 2**40 + 1, 10**6000, True, 1.0, "1", None, np.int64(1))],
    *[("float", value) for value in (1, True, float("nan"), 1e39, -1e39, "1.0", None, np.float32(1))],
    *[("ints", value) for value in ([1], (True,), (-1,), (1.0,), ((1,),), (10**6000,), (1,) * 33, None, 3, "3")],
    *[("shape", value) for value in ([1], (True,), (1.0,), ((1,),), (10**6000,), (1,) * 17, None, -1)],
    *[(("a", "b"), value) for value in ("c", "", None, 1, ("a",), b"a")],
]


@pytest.mark.parametrize(("kind", "value"), GOOD)
def test_values_of_a_kind(kind: Kind, value: Any) -> None:
    assert row(kind).shape([X], {"value": value}) == X


@pytest.mark.parametrize(("kind", "value"), BAD, ids=lambda value: type(value).__name__)
def test_values_of_another_kind(kind: Kind, value: Any) -> None:
    with pytest.raises(GraphError, match="row: attribute 'value' must"):
        row(kind).shape([X], {"value": value})


def test_arity_and_names() -> None:
    with pytest.raises(GraphError, match="row takes 1 to 2 inputs, not 3"):
        row("bool").shape([X] * 3, {"value": True})
    with pytest.raises(GraphError, match="row lacks its attribute 'value'; its attributes: value"):
        row("bool").shape([X], {})
    with pytest.raises(GraphError, match="row has no attribute 'other'; its attributes: value"):
        row("bool").shape([X], {"value": True, "other": True})


def test_only_shapes_are_bound_to_the_batch() -> None:
    np.testing.assert_array_equal(row("shape").run([], {"value": (-2, 3)}, 4), [8, 3])
    np.testing.assert_array_equal(row("ints").run([], {"value": (2, 3)}, 4), [2, 3])


def test_an_op_without_products_has_no_macs() -> None:
    assert row("bool").macs([X], {"value": True}) == 0
