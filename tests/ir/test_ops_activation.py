"""Activations: extreme values, and attributes that do not fit. Their laws are in tests/laws."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from secateur.errors import GraphError
from secateur.ir.graph import ValueType
from secateur.ir.ops import OPS
from secateur.ir.ops.activation import same_type

EXTREME = np.array([-3e38, -1e4, -104, -88, -20, -1e-30, 0, 1e-30, 20, 88, 104, 1e4], np.float32)
SMOOTH = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "silu": torch.nn.functional.silu}


@pytest.mark.parametrize("name", SMOOTH)
def test_extreme_inputs_raise_no_warning_and_keep_their_precision(name: str) -> None:
    y = OPS[name].run([EXTREME], {}, 1)
    expected = SMOOTH[name](torch.from_numpy(EXTREME).double()).numpy()
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-37)


def test_exact_gelu_keeps_its_precision_in_the_tail() -> None:
    """x Phi(x) is tiny for negative x; 1 + erf would cancel there."""
    x = np.array([-12, -8, -5, -3], np.float32)
    expected = [value / 2 * math.erfc(-value / math.sqrt(2)) for value in x.tolist()]
    np.testing.assert_allclose(OPS["gelu"].run([x], {"approximate": "none"}, 1), expected, rtol=1e-7)


def test_the_two_forms_of_gelu_differ() -> None:
    x = np.linspace(-3, 3, 50, dtype=np.float32)
    exact, fitted = (OPS["gelu"].run([x], {"approximate": form}, 1) for form in ("none", "tanh"))
    assert 1e-4 < np.abs(exact - fitted).max() < 1e-3


@pytest.mark.parametrize("name", ["relu", "relu6", "hardswish", "hardsigmoid", "sigmoid", "tanh", "silu"])
def test_nan_stays_nan(name: str) -> None:
    assert np.isnan(OPS[name].run([np.array([np.nan], np.float32)], {}, 1)).all()


SCALARS = {name: {} for name, op in OPS.items() if op.rule is same_type} | {
    "leaky_relu": {"slope": 0.1},
    "elu": {"alpha": 1.0},
    "clip": {"low": -1.0, "high": 1.0},
    "gelu": {"approximate": "none"},
}


@pytest.mark.parametrize("form", ["none", "tanh"])
def test_a_scalar_has_a_gelu(form: str) -> None:
    y = OPS["gelu"].run([np.array(3, np.float32)], {"approximate": form}, 1)
    np.testing.assert_allclose(y, 2.996, atol=1e-3)
    assert isinstance(y, np.ndarray)


@pytest.mark.parametrize("name", SCALARS)
def test_a_scalar_stays_a_float32_array(name: str) -> None:
    attributes = SCALARS[name]
    y = OPS[name].run([np.array(-1.5, np.float32)], attributes, 1)
    assert isinstance(y, np.ndarray)
    assert (y.shape, y.dtype) == ((), np.float32)


@pytest.mark.parametrize(
    ("op", "types", "attributes", "message"),
    [
        ("relu", [ValueType((-1,), "int64")], {}, "cast first"),
        ("clip", [ValueType((-1,))], {"low": 1.0, "high": 0.0}, "low=1.0 is above high=0.0"),
        ("leaky_relu", [ValueType((-1,))], {"slope": float("inf")}, "slope must be finite"),
        ("elu", [ValueType((-1,))], {"alpha": float("-inf")}, "alpha must be finite"),
        ("prelu", [ValueType((-1, 3)), ValueType((2,))], {}, "one slope a channel"),
        ("prelu", [ValueType((-3,)), ValueType((3,))], {}, "one slope a channel"),
        ("prelu", [ValueType((-1, 3)), ValueType((-3,))], {}, "must not depend on the batch"),
        ("softmax", [ValueType((-1, 3))], {"axis": 2}, "from 0 to 1"),
        ("gelu", [ValueType((-1, 3))], {"approximate": "sigmoid"}, "one of none, tanh"),
    ],
)
def test_what_does_not_fit_is_refused(
    op: str, types: list[ValueType], attributes: dict[str, Any], message: str
) -> None:
    with pytest.raises(GraphError, match=message):
        OPS[op].shape(types, attributes)
