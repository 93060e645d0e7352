"""Operations that move values: hand-made values, and shapes that do not fit. Their laws are in tests/laws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from secateur.errors import GraphError
from secateur.ir.graph import ValueType
from secateur.ir.ops import OPS

F = ValueType
PADS = {"pads": (0, 0, 2, 1), "mode": "constant", "value": 0.0}
CUT = {"axis": 1, "start": 0, "stop": 2, "step": 1}


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("constant", [9, 9, 1, 2, 3, 9]),
        ("reflect", [3, 2, 1, 2, 3, 2]),
        ("replicate", [1, 1, 1, 2, 3, 3]),
        ("circular", [2, 3, 1, 2, 3, 1]),
    ],
)
def test_the_four_borders(mode: str, expected: list[int]) -> None:
    x = np.array([[1, 2, 3]], np.float32)
    value = 9.0 if mode == "constant" else 0.0
    y = OPS["pad"].run([x], PADS | {"mode": mode, "value": value}, 1)
    np.testing.assert_array_equal(y, [expected])
    assert y.dtype == np.float32


def test_a_border_may_be_infinite() -> None:
    y = OPS["pad"].run([np.zeros((1, 1), np.float32)], PADS | {"value": float("-inf")}, 1)
    np.testing.assert_array_equal(y, [[-np.inf, -np.inf, 0, -np.inf]])


def test_a_float_is_cut_towards_zero() -> None:
    y = OPS["cast"].run([np.array([1.9, -1.9], np.float32)], {"dtype": "int64"}, 1)
    np.testing.assert_array_equal(y, [1, -1])
    assert y.dtype == np.int64


@pytest.mark.parametrize("op", ["reshape", "expand"])
def test_sizes_are_bound_to_the_batch(op: str) -> None:
    x = np.zeros((4, 6) if op == "reshape" else (4, 1), np.float32)
    assert OPS[op].run([x], {"shape": (-2, 3)}, 4 if op == "reshape" else 2).shape == (8 if op == "reshape" else 4, 3)


@pytest.mark.parametrize(
    ("op", "types", "attributes", "message"),
    [
        ("reshape", [F((-1, 6))], {"shape": (-1, 7)}, r"\(N, 6\) and \(N, 7\) differ in their number of elements"),
        ("reshape", [F((-1, 6))], {"shape": (6,)}, "differ"),
        ("reshape", [F((-1, 6))], {"shape": (-1, -6)}, "differ"),
        ("reshape", [F((2, 6))], {"shape": (-1, 6)}, "not 'infer'"),
        ("reshape", [F((-1, 6))], {"shape": (-1, 6, 0)}, "holds a 0"),
        ("permute", [F((-1, 6))], {"axes": (0, 0)}, "at most once"),
        ("permute", [F((-1, 6))], {"axes": (0,)}, "must name all 2 axes"),
        ("permute", [F((-1, 6))], {"axes": (0, 2)}, "from 0 to 1"),
        ("expand", [F((-1, 6))], {"shape": (-2, 6)}, "only sizes of 1"),
        ("expand", [F((-1, 6))], {"shape": (6,)}, "does not stretch"),
        ("expand", [F((1,))], {"shape": (0,)}, "holds a 0"),
        ("slice", [F((-1, 6))], CUT | {"axis": 0}, "must not depend on the batch"),
        ("slice", [F((-1, 6))], CUT | {"axis": 2}, "from 0 to 1"),
        ("slice", [F((-1, 6))], CUT | {"stop": 7}, "cut stop to the size"),
        ("slice", [F((-1, 6))], CUT | {"start": 2}, "0 <= start < stop"),
        ("slice", [F((-1, 6))], CUT | {"step": 0}, "step >= 1"),
        ("slice", [F((-1, 6))], CUT | {"start": -1}, "int from 0"),
        ("pad", [F((-1, 3))], PADS | {"pads": (1, 0, 0, 0)}, "must not depend on the batch"),
        ("pad", [F((-1, 3))], PADS | {"pads": (0, 0)}, "two entries for each of the 2 axes"),
        ("pad", [F((-1, 3))], PADS | {"pads": (0, 0, -1, 0)}, "ints from 0"),
        ("pad", [F((-1, 2))], PADS | {"mode": "reflect"}, "reaches at most 1"),
        ("pad", [F((-1, 1))], PADS | {"mode": "circular"}, "reaches at most 1"),
        ("pad", [F((-1, 3))], PADS | {"mode": "reflect", "value": 1.0}, "no meaning in mode reflect"),
        ("pad", [F((-1, 3), "int64")], PADS, "cast first"),
        ("concat", [], {"axis": 0}, "takes 1 to"),
        ("concat", [F((-1, 3)), F((-1, 3), "int64")], {"axis": 1}, "float32, int64; cast first"),
        ("concat", [F((-1, 3)), F((-2, 3))], {"axis": 1}, "differ outside axis 1"),
        ("concat", [F((-1, 3)), F((-1, 3, 1))], {"axis": 1}, "differ outside axis 1"),
        ("concat", [F((-1, 3)), F((-1,))], {"axis": 1}, "differ outside axis 1"),
        ("concat", [F((-1, 3)), F((2, 3))], {"axis": 0}, "static in some inputs"),
        ("concat", [F(())], {"axis": 0}, "axes"),
        ("cast", [F((-1,))], {"dtype": "float16"}, "must be one of"),
    ],
)
def test_what_does_not_fit_is_refused(
    op: str, types: list[ValueType], attributes: dict[str, Any], message: str
) -> None:
    with pytest.raises(GraphError, match=message):
        OPS[op].shape(types, attributes)
