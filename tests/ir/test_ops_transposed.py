"""Transposed convolution: hand-made values, bounded memory, inputs that do not fit. Its law is in tests/laws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from secateur.errors import GraphError
from secateur.ir.graph import ValueType
from secateur.ir.ops import OPS, convolution
from secateur.ir.ops.transposed import transposed_convolve

PLAIN = {"stride": (1, 1), "padding": (0, 0), "output_padding": (0, 0), "dilation": (1, 1), "groups": 1}
LINE = {name: value[:1] if isinstance(value, tuple) else value for name, value in PLAIN.items()}


def test_every_input_spreads_the_kernel() -> None:
    x, weight = np.array([[[1, 2]]], np.float32), np.array([[[10, 1, 3]]], np.float32)
    y = transposed_convolve(x, weight, np.array([100], np.float32), **LINE | {"stride": (2,)})
    np.testing.assert_array_equal(y, [[[110, 101, 123, 102, 106]]])
    cut = transposed_convolve(x, weight, **LINE | {"stride": (2,), "padding": (1,), "output_padding": (1,)})
    np.testing.assert_array_equal(cut, [[[1, 23, 2, 6]]])


def test_output_padding_reaches_beyond_the_taps() -> None:
    y = transposed_convolve(
        np.ones((1, 1, 1), np.float32),
        np.ones((1, 1, 1), np.float32),
        **LINE | {"stride": (3,), "output_padding": (2,)},
    )
    np.testing.assert_array_equal(y, [[[1, 0, 0]]])


def test_it_is_the_adjoint_of_the_convolution() -> None:
    """<conv(x), y> = <x, conv_transpose(y)> with the very same weight, groups included."""
    rng = np.random.default_rng(0)
    weight = rng.integers(-3, 4, (6, 2, 3, 2)).astype(np.float32)
    window = {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2), "groups": 2}
    x = rng.integers(-3, 4, (2, 4, 5, 6)).astype(np.float32)
    forward = convolution.convolve(x, weight, **window)
    y = rng.integers(-3, 4, forward.shape).astype(np.float32)
    assert (forward * y).sum() == (transposed_convolve(y, weight, **window, output_padding=(0, 0)) * x).sum()


@pytest.mark.parametrize("groups", [1, 2])
def test_many_images_are_done_in_parts_of_bounded_memory(monkeypatch: pytest.MonkeyPatch, groups: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((7, 4, 5, 6), np.float32)
    weight = rng.standard_normal((4, 2, 3, 3), np.float32)
    whole = transposed_convolve(x, weight, **PLAIN | {"groups": groups})
    for limit in (3 * 4 * 2 * groups * 9 * 30, 1):  # three images, so 3 + 3 + 1; one at a time
        monkeypatch.setattr(convolution, "COLUMN_BYTES", limit)
        np.testing.assert_array_equal(transposed_convolve(x, weight, **PLAIN | {"groups": groups}), whole)


@pytest.mark.parametrize(
    ("x", "weight", "change", "message"),
    [
        ((-1, 3, 5, 5), (4, 2, 3, 3), {}, r"x \(N, 3, 5, 5\) must have 4 channels"),
        ((-1, 3, 5, 5), (3, 2, 3, 3), {"groups": 2}, "3 channels do not fall into 2 groups"),
        ((-1, 3, 5, 5), (3, 2, 3, 3), {"groups": 0}, "0 groups"),
        ((3, 5, 5), (3, 4, 3, 3), {}, "must both have 3, 4 or 5 axes"),
        ((-1, 3), (3, 4), {}, "must both have 3, 4 or 5 axes"),
        ((-1, 3, 5, 5), (-3, 4, 3, 3), {}, "weight .* must not depend on the batch"),
        ((-1, 3, -5, 5), (3, 4, 3, 3), {}, "spatial shape .* must not depend on the batch"),
        ((-1, 3, 5, 5), (3, 4, 3, 3), {"stride": (1,)}, "stride .* one entry for each of the 2 spatial axes"),
        ((-1, 3, 5, 5), (3, 4, 3, 3), {"stride": (0, 1)}, "stride .* at least 1"),
        ((-1, 3, 5, 5), (3, 4, 3, 3), {"dilation": (0, 1)}, "dilation .* at least 1"),
        ((-1, 3, 5, 5), (3, 4, 3, 3), {"output_padding": (0, 1)}, "smaller than stride or dilation"),
        ((-1, 3, 5, 5), (3, 4, 3, 3), {"output_padding": (2**40, 0)}, "smaller than stride or dilation"),
        ((-1, 3, 5, 5), (3, 4, 3, 3), {"padding": (4, 0)}, r"padding \(4, 0\) leaves nothing of \(7, 7\)"),
        ((-1, 3, 5, 5), (3, 4, 3, 3), {"padding": (2**40, 0)}, "leaves nothing"),
        ((-1, 3, 5, 5), (3, 4, 3, 3), {"stride": (2**40, 1), "padding": (2**41, 0)}, "ints from 0 to 2"),
        ((-1, 3, 5, 5), (3, 4, 3, 3), {"stride": (2**40, 1), "padding": (2**40, 0)}, "absurdly far"),
        ((-1, 3, 5, 5), (3, 4, 3, 3), {"dilation": (2**40, 2**40), "padding": (2**40, 2**40)}, "absurdly far"),
    ],
)
def test_what_does_not_fit_is_refused(x: tuple, weight: tuple, change: dict[str, Any], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        OPS["conv_transpose"].shape([ValueType(x), ValueType(weight)], PLAIN | change)


def test_bias_and_dtypes_are_checked() -> None:
    x, weight = ValueType((-1, 3, 5, 5)), ValueType((3, 4, 3, 3))
    with pytest.raises(GraphError, match=r"bias must have shape \(4,\), not \(3,\)"):
        OPS["conv_transpose"].shape([x, weight, ValueType((3,))], PLAIN)
    with pytest.raises(GraphError, match="cast first"):
        OPS["conv_transpose"].shape([x, ValueType(weight.shape, "int64")], PLAIN)
