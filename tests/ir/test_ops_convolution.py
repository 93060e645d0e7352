"""Convolution: hand-made values, bounded memory, inputs that do not fit. Its law is in tests/laws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from secateur.errors import GraphError
from secateur.ir.graph import ValueType
from secateur.ir.ops import OPS, convolution
from secateur.ir.ops.convolution import convolve

PLAIN = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}


def test_it_is_a_correlation_with_padding_and_bias() -> None:
    x = np.array([[[1, 2, 3]]], np.float32)
    weight = np.array([[[10, 1, 0.5]]], np.float32)
    y = convolve(x, weight, np.array([100], np.float32), stride=(1,), padding=(1,), dilation=(1,), groups=1)
    np.testing.assert_array_equal(y, [[[102, 113.5, 123]]])


@pytest.mark.parametrize("groups", [1, 2])
def test_many_images_are_done_in_parts_of_bounded_memory(monkeypatch: pytest.MonkeyPatch, groups: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((7, 4, 6, 6), np.float32)
    weight = rng.standard_normal((2, 4 // groups, 3, 3), np.float32)
    whole = convolve(x, weight, **PLAIN | {"groups": groups})
    monkeypatch.setattr(convolution, "COLUMN_BYTES", 3 * 4 * 4 * 9 * 16)  # three images, so 3 + 3 + 1
    np.testing.assert_array_equal(convolve(x, weight, **PLAIN | {"groups": groups}), whole)
    monkeypatch.setattr(convolution, "COLUMN_BYTES", 1)
    np.testing.assert_array_equal(convolve(x, weight, **PLAIN | {"groups": groups}), whole)


def test_padding_may_exceed_the_kernel() -> None:
    """Some real networks pad a 1 x 1 convolution: the border is the bias alone."""
    x, weight, bias = np.ones((1, 1, 2), np.float32), np.full((1, 1, 1), 3, np.float32), np.array([5], np.float32)
    y = convolve(x, weight, bias, stride=(1,), padding=(2,), dilation=(1,), groups=1)
    np.testing.assert_array_equal(y, [[[5, 5, 8, 8, 5, 5]]])


@pytest.mark.parametrize(
    ("x", "weight", "change", "message"),
    [
        ((-1, 3, 5, 5), (4, 2, 3, 3), {}, r"x \(N, 3, 5, 5\) must have 2 channels"),
        ((-1, 3, 5, 5), (4, 3, 3, 3), {"groups": 3}, "4 outputs do not fall into 3 groups"),
        ((-1, 3, 5, 5), (4, 3, 3, 3), {"groups": 0}, "0 groups"),
        ((3, 5, 5), (4, 3, 3, 3), {}, "must both have 3, 4 or 5 axes"),
        ((-1, 3), (4, 3), {}, "must both have 3, 4 or 5 axes"),
        ((-1, 3, 5, 5), (-4, 3, 3, 3), {}, "weight .* must not depend on the batch"),
        ((-1, 3, -5, 5), (4, 3, 3, 3), {}, "spatial shape .* must not depend on the batch"),
        ((-1, 3, 5, 5), (4, 3, 6, 3), {}, r"spanning \(6, 3\) does not fit"),
        ((-1, 3, 5, 5), (4, 3, 3, 3), {"dilation": (3, 1)}, r"spanning \(7, 3\) does not fit"),
        ((-1, 3, 5, 5), (4, 3, 3, 3), {"stride": (1,)}, "stride .* one entry for each of the 2 spatial axes"),
        ((-1, 3, 5, 5), (4, 3, 3, 3), {"dilation": (0, 1)}, "dilation .* at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(x: tuple, weight: tuple, change: dict[str, Any], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        OPS["conv"].shape([ValueType(x), ValueType(weight)], PLAIN | change)


def test_bias_and_dtypes_are_checked() -> None:
    x, weight = ValueType((-1, 3, 5, 5)), ValueType((4, 3, 3, 3))
    with pytest.raises(GraphError, match=r"bias must have shape \(4,\), not \(3,\)"):
        OPS["conv"].shape([x, weight, ValueType((3,))], PLAIN)
    with pytest.raises(GraphError, match="cast first"):
        OPS["conv"].shape([x, ValueType(weight.shape, "int64")], PLAIN)
