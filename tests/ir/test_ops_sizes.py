"""Arithmetic on sizes, some of which are multiples of the batch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.errors import GraphError
from secateur.ir.graph import ValueType
from secateur.ir.ops.sizes import broadcast, show, volume

SIZES = st.lists(st.integers(-3, 3).filter(bool), max_size=4).map(tuple)
QUICK = settings(max_examples=150, deadline=None, database=None, derandomize=True)


@QUICK
@given(SIZES, st.integers(1, 5))
def test_volume_is_the_number_of_elements(shape: tuple[int, ...], batch: int) -> None:
    coefficient, power = volume(shape)
    assert coefficient * batch**power == np.prod(ValueType(shape).bind(batch), dtype=int)


@QUICK
@given(SIZES, SIZES)
def test_broadcasting_is_numpy_s_for_every_batch(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    def bound(batch: int) -> list[tuple[int, ...]]:
        return [ValueType(shape).bind(batch) for shape in (a, b)]

    try:
        common = broadcast("test", a, b)
    except GraphError:
        with pytest.raises(ValueError, match="mismatch"):  # 7 is no divisor that could agree by accident
            np.broadcast_shapes(*bound(7))
    else:
        for batch in (0, 1, 2, 7):
            assert np.broadcast_shapes(*bound(batch)) == ValueType(common).bind(batch)


@pytest.mark.parametrize(
    ("shape", "text"), [((), "()"), ((3,), "(3,)"), ((-1, 3), "(N, 3)"), ((-4, -1), "(4N, N)"), ((0, 2), "(0, 2)")]
)
def test_shapes_read_as_expected(shape: tuple[int, ...], text: str) -> None:
    assert show(shape) == text
