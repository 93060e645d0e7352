"""Normalisations: precision far from zero, and shapes that do not fit. Their laws are in tests/laws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from secateur.errors import GraphError
from secateur.ir.graph import ValueType
from secateur.ir.ops import OPS

F = ValueType
EPS = {"eps": 1e-5}


def test_a_large_mean_costs_no_precision() -> None:
    x = (np.array([[-1, 0, 1, 0]]) + 1e6).astype(np.float32)
    one, zero = np.ones(4, np.float32), np.zeros(4, np.float32)
    expected = np.array([[-1, 0, 1, 0]]) / np.sqrt(0.5 + 1e-5)
    np.testing.assert_allclose(OPS["layer_norm"].run([x, one, zero], EPS, 1), expected, rtol=1e-6)
    wide = OPS["group_norm"].run([x, one, zero], EPS | {"groups": 1}, 1)
    np.testing.assert_allclose(wide, expected, rtol=1e-6)
    moved = OPS["batch_norm"].run([x, one, zero, np.full(4, 1e6, np.float32), one], EPS, 1)
    np.testing.assert_allclose(moved, np.array([[-1, 0, 1, 0]]) / np.sqrt(1 + 1e-5), rtol=1e-6)


def test_a_constant_input_gives_the_bias() -> None:
    x, weight, bias = np.full((2, 3), 7, np.float32), np.ones(3, np.float32), np.array([1, 2, 3], np.float32)
    np.testing.assert_array_equal(OPS["layer_norm"].run([x, weight, bias], EPS, 2), [[1, 2, 3]] * 2)


C = F((3,))


@pytest.mark.parametrize(
    ("op", "types", "attributes", "message"),
    [
        ("batch_norm", [F((-1, 3, 2)), C, C, C, F((2,))], EPS, r"variance must have shape \(3,\), not \(2,\)"),
        ("batch_norm", [F((3,)), C, C, C, C], EPS, "channels in axis 1"),
        ("batch_norm", [F((1, -3)), C, C, C, C], EPS, "must not depend on the batch"),
        ("batch_norm", [F((-1, 3)), C, C, C, C], {"eps": float("inf")}, "eps must be a finite number"),
        ("batch_norm", [F((-1, 3)), C, C], EPS, "takes 5 inputs"),
        ("layer_norm", [F((-1, 3)), F((2,)), F((2,))], EPS, "must end in the shape of weight"),
        ("layer_norm", [F((-1, 3)), F((2, 3)), F((2, 3))], EPS, "must end in the shape of weight"),
        ("layer_norm", [F((-1, 3)), F(()), F(())], EPS, "must end in the shape of weight"),
        ("layer_norm", [F((-1, 3)), C, F((2,))], EPS, "bias must have shape"),
        ("layer_norm", [F((-3,)), F((-3,)), F((-3,))], EPS, "must not depend on the batch"),
        ("layer_norm", [F((-1, 3)), C, C], {"eps": -1.0}, "from 0 up, not -1.0"),
        ("group_norm", [F((-1, 3, 2)), C, C], EPS | {"groups": 2}, "3 channels do not fall into 2 groups"),
        ("group_norm", [F((-1, 3, 2)), C, C], EPS | {"groups": 0}, "0 groups"),
        ("group_norm", [F((-1, 3, 2)), C, F((2,))], EPS | {"groups": 1}, "bias must have shape"),
    ],
)
def test_what_does_not_fit_is_refused(
    op: str, types: list[ValueType], attributes: dict[str, Any], message: str
) -> None:
    with pytest.raises(GraphError, match=message):
        OPS[op].shape(types, attributes)
