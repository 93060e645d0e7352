"""Pooling: edges of the padding, and windows that do not fit. Its law is in tests/laws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from secateur.errors import GraphError
from secateur.ir.graph import ValueType
from secateur.ir.ops import OPS

MAX = {"kernel": (3,), "stride": (2,), "padding": (1,), "dilation": (1,), "ceil_mode": False}
MEAN = {"kernel": (2,), "stride": (2,), "padding": (1,), "ceil_mode": True, "count_include_pad": True}


def test_padding_never_wins_a_maximum() -> None:
    x = np.full((1, 1, 4), -7, np.float32)
    np.testing.assert_array_equal(OPS["max_pool"].run([x], MAX, 1), np.full((1, 1, 2), -7))


def test_the_mean_counts_padding_but_nothing_beyond_it() -> None:
    """Input 1 .. 4, windows (pad, 1), (2, 3), (4, pad): each divides by 2, or by what it sees of the input."""
    x = np.arange(1, 5, dtype=np.float32).reshape(1, 1, 4)
    np.testing.assert_array_equal(OPS["average_pool"].run([x], MEAN, 1), [[[0.5, 2.5, 2]]])
    inside = OPS["average_pool"].run([x], MEAN | {"count_include_pad": False}, 1)
    np.testing.assert_array_equal(inside, [[[1, 2.5, 4]]])
    beyond = OPS["average_pool"].run([x], MEAN | {"kernel": (3,), "stride": (3,), "padding": (0,)}, 1)
    np.testing.assert_array_equal(beyond, [[[2, 4]]])


def test_cells_of_an_adaptive_pool_overlap_where_sizes_do_not_divide() -> None:
    x = np.arange(5, dtype=np.float32).reshape(1, 1, 5)
    np.testing.assert_array_equal(OPS["adaptive_average_pool"].run([x], {"output": (2,)}, 1), [[[1, 3]]])
    np.testing.assert_array_equal(OPS["adaptive_max_pool"].run([x], {"output": (7,)}, 1), [[[0, 1, 2, 2, 3, 4, 4]]])


IMAGE = ValueType((-1, 2, 6))


@pytest.mark.parametrize(
    ("op", "x", "attributes", "message"),
    [
        ("max_pool", IMAGE, MAX | {"padding": (2,)}, "at most half of the window's span"),
        ("max_pool", IMAGE, MAX | {"kernel": (9,)}, "does not fit into the padded input"),
        ("max_pool", IMAGE, MAX | {"kernel": ()}, "one entry for each of the 1 spatial axes"),
        ("max_pool", IMAGE, MAX | {"kernel": (0,)}, "at least 1"),
        ("max_pool", IMAGE, MAX | {"stride": (0,)}, "at least 1"),
        ("max_pool", IMAGE, MAX | {"stride": ()}, "stride .* one entry"),
        ("max_pool", ValueType((2, 6)), MAX, "must be"),
        ("max_pool", ValueType((-1, 2, -6)), MAX, "must not depend on the batch"),
        ("max_pool", ValueType((-1, 2, 6), "int64"), MAX, "cast first"),
        ("average_pool", IMAGE, MEAN | {"padding": (2,)}, "at most half"),
        ("average_pool", IMAGE, MEAN | {"kernel": (2, 2)}, "kernel .* one entry"),
        ("adaptive_max_pool", IMAGE, {"output": (2, 2)}, "one size of at least 1 for each spatial axis"),
        ("adaptive_max_pool", IMAGE, {"output": (0,)}, "at least 1"),
        ("adaptive_average_pool", ValueType((-1, 2, -6)), {"output": (1,)}, "must not depend on the batch"),
        ("adaptive_average_pool", ValueType((-1, 2)), {"output": ()}, "1 to 3 spatial axes"),
    ],
)
def test_what_does_not_fit_is_refused(op: str, x: ValueType, attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        OPS[op].shape([x], attributes)
