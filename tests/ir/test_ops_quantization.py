"""Quantized maps, at stored scales and at found ones: half goes up, ends are kept, zero is zero, and what does not fit
is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.errors import GraphError
from secateur.ir.graph import ValueType
from secateur.ir.ops import OPS
from secateur.maths.map_grid import codes as ends_of

SIGNED = {"bits": 3, "signed": True}


def quantized(x: Any, scale: float, **attributes: Any) -> np.ndarray:
    return OPS["fake_quantize"].run([np.asarray(x, np.float32), np.asarray(scale, np.float32)], attributes, 1)


def test_half_goes_up_on_both_sides_of_zero() -> None:
    y = quantized([-1.5, -1.25, -0.75, -0.25, 0.25, 0.75, 1.25], 0.5, **SIGNED)
    np.testing.assert_array_equal(y, [-1.5, -1, -0.5, 0, 0.5, 1, 1.5])


def test_values_beyond_the_last_code_and_infinities_take_it() -> None:
    np.testing.assert_array_equal(quantized([-9, -np.inf, 9, np.inf], 0.5, **SIGNED), [-1.5, -1.5, 1.5, 1.5])
    np.testing.assert_array_equal(quantized([-9, -np.inf, 9, np.inf], 0.5, bits=3, signed=False), [0, 0, 3.5, 3.5])
    assert np.isnan(quantized([np.nan], 0.5, **SIGNED)).all()


@pytest.mark.parametrize("signed", [True, False])
def test_a_zero_is_plus_zero(signed: bool) -> None:
    y = quantized([0.0, -0.0, -0.1, 0.1, -0.2], 0.5, bits=2, signed=signed)
    assert not y.any()
    assert not np.signbit(y).any()


@given(st.integers(2, 8), st.booleans(), st.floats(2**-14, 2**10, width=16), st.lists(st.floats(-300, 300, width=32)))
def test_what_lies_on_the_grid_stays_there(bits: int, signed: bool, scale: float, values: list[float]) -> None:
    once = quantized([scale * value for value in values], scale, bits=bits, signed=signed)
    np.testing.assert_array_equal(quantized(once, scale, bits=bits, signed=signed), once)
    codes = once / np.float32(scale)
    low, high = ends_of(bits, signed=signed)
    assert (codes == np.rint(codes)).all()
    assert ((low <= codes) & (codes <= high)).all()


@pytest.mark.parametrize(
    ("types", "attributes", "message"),
    [
        ([ValueType((-1, 3)), ValueType(())], {"bits": 1, "signed": True}, "2 to 8 bits, not 1"),
        ([ValueType((-1, 3)), ValueType(())], {"bits": 99, "signed": True}, "2 to 8 bits, not 99"),
        ([ValueType((-1, 3)), ValueType(())], {"bits": 4}, "lacks its attribute 'signed'"),
        ([ValueType((-1, 3)), ValueType((3,))], SIGNED, r"scale must have shape \(\), not \(3,\)"),
        ([ValueType((-1, 3), "int64"), ValueType(())], SIGNED, "cast first"),
        ([ValueType((-1, 3))], SIGNED, "takes 2 inputs, not 1"),
    ],
)
def test_what_does_not_fit_is_refused(types: list[ValueType], attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        OPS["fake_quantize"].shape(types, attributes)


def found(x: Any, least: float = 2.0**-24, **attributes: Any) -> np.ndarray:
    return OPS["dynamic_quantize"].run([np.asarray(x, np.float32), np.asarray(least, np.float32)], attributes, 1)


def test_every_row_ends_at_its_own_largest_magnitude() -> None:
    x = [[-3.0, 1.5, 0.4, 0.0], [300.0, 60.0, 49.0, -51.0]]
    np.testing.assert_array_equal(found(x, axes=(1,), **SIGNED), [[-3, 2, 0, 0], [300, 100, 0, -100]])
    whole = found([x], axes=(1, 2), **SIGNED)
    np.testing.assert_array_equal(whole[0], [[0, 0, 0, 0], [300, 100, 0, -100]])
    unsigned = found([[-3.0, 7.0, 1.4, 1.5]], bits=3, signed=False, axes=(1,))
    np.testing.assert_array_equal(unsigned, [[0, 7, 1, 2]])


def test_a_row_of_zeros_has_the_least_scale_and_no_row_has_a_smaller_one() -> None:
    x = [[0.0, -0.0], [0.3, 0.2]]
    y = found(x, 0.5, axes=(1,), **SIGNED)
    np.testing.assert_array_equal(y, [[0, 0], [0.5, 0]])
    assert found(np.zeros((0, 3)), axes=(1,), **SIGNED).shape == (0, 3)


def test_a_nan_or_an_infinity_spoils_its_own_row_alone() -> None:
    with np.errstate(all="ignore"):
        y = found([[np.nan, 1.0], [np.inf, 1.0], [2.0, 1.0]], bits=8, signed=True, axes=(1,))
    assert np.isnan(y[0]).all()
    assert not np.isfinite(y[1]).all()
    assert np.isfinite(y[2]).all()


@pytest.mark.parametrize(
    ("shape", "axes", "message"),
    [
        ((-1, 3), (), "one at least"),
        ((-1, 3), (2,), "places of 2 dimensions"),
        ((-1, 3, 4), (2, 1), "ascending"),
        ((-1, 3, 4), (1, 1), "ascending"),
        ((-1, 3), (0,), "shared by the examples of a batch"),
        ((-1, 3), (0, 1), "shared by the examples of a batch"),
    ],
)
def test_axes_that_do_not_fit_are_refused(shape: tuple[int, ...], axes: tuple[int, ...], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        OPS["dynamic_quantize"].shape([ValueType(shape), ValueType(())], {**SIGNED, "axes": axes})


def test_codes_of_found_scales_have_two_to_eight_bits() -> None:
    with pytest.raises(GraphError, match="2 to 8 bits, not 9"):
        OPS["dynamic_quantize"].shape([ValueType((-1, 3)), ValueType(())], {"bits": 9, "signed": True, "axes": (1,)})
