"""Rounding: what a file stores of a tensor, once, and how far that is from what it was."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.errors import ArtifactError
from secateur.ir.formats import Quantized, on_grid, same_bits
from secateur.ir.grid import Grid
from secateur.ir.rounding import Rounding

RNG = np.random.default_rng(0)
WEIGHTS = RNG.standard_normal((20, 30)).astype(np.float32)
GRID = Grid(4, np.array(0.25, np.float16))


def test_float32_stays_as_it_is():
    rounding = Rounding("float32")
    assert rounding("w", WEIGHTS) is WEIGHTS
    assert rounding.largest == 0


def test_float16_is_rounded_once():
    rounding = Rounding("float16")
    rounded = rounding("w", WEIGHTS)
    assert 0 < rounding.largest <= 2**-11
    assert same_bits(rounding("w", rounded), rounded)
    assert same_bits(rounding.stored("w", rounded).to_dense(), rounded)


def test_bytes_are_rounded_once_though_the_largest_number_goes():
    rounding = Rounding("int8")
    rounded = rounding("w", WEIGHTS)
    first = rounding.largest
    assert 0 < first < 0.6 / 127
    rest = rounded[np.abs(rounded).max(axis=1) < np.abs(rounded).max()]
    assert len(rest) == 19
    assert same_bits(rounding("w", rest), rest)
    assert rounding.largest == first


def test_a_tensor_that_something_was_added_to_gets_a_new_grid():
    rounding = Rounding("int8")
    rounded = rounding("b", WEIGHTS[0])
    changed = rounding("b", rounded + np.float32(0.01))
    assert np.abs(changed - rounded - 0.01).max() < np.abs(rounded).max() / 127
    stored = rounding.stored("b", changed)
    assert isinstance(stored, Quantized)
    assert same_bits(stored.to_dense(), changed)


def test_vectors_wait_for_the_constants_of_removed_units():
    bias = WEIGHTS[0]
    assert Rounding("int8").early("b", bias) is bias
    assert not np.array_equal(Rounding("int8").early("w", WEIGHTS), WEIGHTS)
    assert not np.array_equal(Rounding("float16").early("b", bias), bias)


@pytest.mark.parametrize("values", ["float32", "float16", "int8"])
def test_what_lies_on_a_grid_stays_on_it(values: str):
    rounding = Rounding(values, {"w": GRID})
    array = on_grid(WEIGHTS, GRID, nearest=True).to_dense()
    assert same_bits(rounding("w", array), array)
    assert rounding.largest == 0
    assert rounding.stored("w", array) == on_grid(array, GRID)
    with pytest.raises(ArtifactError, match=r"w: .* are not on a grid of 4 bits"):
        rounding("w", WEIGHTS)
    rounding.know({})
    assert rounding.stored("w", array).dtype == values


def test_statistics_masks_and_what_tracing_made_are_no_bytes():
    rounding, mask = Rounding("int8"), np.array([0, -np.inf], np.float32)
    assert rounding.stored("norm.running_var", WEIGHTS[0]).dtype == "float16"
    assert rounding.stored("mask", mask).dtype == "float16"
    assert same_bits(rounding("mask", mask), mask)
    assert rounding.stored("constant:1", WEIGHTS).dtype == "float32"
    assert rounding.stored("steps", np.arange(3)).dtype == "int64"
    assert rounding.stored("weight", WEIGHTS).dtype == "int8"


def test_errors_name_the_tensor():
    with pytest.raises(ArtifactError, match=r"b: values up to 1e\+06 leave the range of float16"):
        Rounding("float16")("b", np.array([1e6], np.float32))
    with pytest.raises(ArtifactError, match=r"b: values up to 1e\+30 leave the range of 8 bits"):
        Rounding("int8")("b", np.array([1e30], np.float32))


@pytest.mark.parametrize("values", ["float32", "float16", "int8"])
def test_one_number_that_float16_holds_is_stored_so_and_stays(values: str):
    rounding, scale = Rounding(values), np.array(np.float16(0.1), np.float32)
    assert same_bits(rounding("map.scale", scale), scale)
    assert rounding.largest == 0
    stored = rounding.stored("map.scale", scale)
    assert stored.dtype == "float16"
    assert same_bits(stored.to_dense(), scale)
    assert Rounding(values).stored("factor", np.array(0.1, np.float32)).dtype == values
    assert Rounding(values).stored("constant:0.5", np.array(0.5, np.float32)).dtype == "float32"
