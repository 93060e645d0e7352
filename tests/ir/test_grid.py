"""A Grid is what it was given, refuses what no file may hold, and rounds to its nearest numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from secateur.errors import ArtifactError
from secateur.ir.formats import same_bits
from secateur.ir.grid import Grid

HALF = np.array(0.5, np.float16)


def test_numbers_of_a_grid():
    grid = Grid(3, HALF)
    assert (grid.largest, grid.by_channel) == (3, False)
    codes = np.array([[-3, 0], [1, 2]], dtype=np.int8)
    assert same_bits(grid.real(codes), np.array([[-1.5, 0], [0.5, 1]], dtype=np.float32))
    assert grid.nearest(np.array([-9, -0.74, 0.25, 0.75, 0.26])).tolist() == [-3, -1, 0, 2, 1]


def test_channels_lie_along_an_axis():
    grid = Grid(4, np.array([1, 2], np.float16), axis=1)
    assert grid.real(np.ones((3, 2), np.int8)).tolist() == [[1, 2]] * 3
    assert grid.fits((3, 2, 5))
    assert not grid.fits((2, 3))
    assert not grid.fits((2,))
    assert Grid(4, HALF).fits(())
    assert grid.take(np.array([1, 1, 0]), 1).scale.tolist() == [2, 2, 1]
    assert grid.take(np.array([1]), 0) is grid
    assert Grid(4, HALF).take(np.array([1]), 0) == Grid(4, HALF)


def test_a_scale_of_zero_has_one_number():
    grid = Grid(4, np.array([0, 1], np.float16))
    assert grid.nearest(np.ones((2, 2))).tolist() == [[0, 0], [1, 1]]


def test_real_is_one_float32_product():
    scale = np.array(0.1, np.float16)
    assert Grid(8, scale).real(np.array(7, np.int8)) == np.float32(7) * np.float32(scale)


def test_equal_grids():
    assert Grid(4, HALF) == Grid(4, HALF.copy(), axis=1)
    assert Grid(4, HALF) != Grid(5, HALF)
    assert Grid(4, HALF) != Grid(4, HALF.astype(np.float32))
    assert Grid(4, HALF) != Grid(4, HALF.reshape(1))
    assert Grid(4, HALF.reshape(1)) != Grid(4, HALF.reshape(1), axis=1)
    assert Grid(4, HALF) != 4


@pytest.mark.parametrize(
    ("bits", "scale", "axis", "message"),
    [
        (1, HALF, 0, "2 to 8 bits"),
        (9, HALF, 0, "2 to 8 bits"),
        (True, HALF, 0, "2 to 8 bits"),
        (4, np.array(0.5), 0, "not float64"),
        (4, HALF.astype(">f2"), 0, "float16 or float32"),
        (4, np.ones((2, 2), np.float16), 0, r"shape \(2, 2\)"),
        (4, HALF, -1, "counts from 0"),
        (4, np.array(-0.5, np.float16), 0, "not negative"),
        (4, np.array(-0.0, np.float16), 0, "not negative"),
        (4, np.array([1, np.nan], np.float16), 0, "finite"),
        (4, np.array(np.inf, np.float16), 0, "finite"),
        (8, np.array(1e38, np.float32), 0, "leave float32"),
    ],
)
def test_what_no_file_may_hold_is_refused(bits: int, scale: Any, axis: int, message: str):
    with pytest.raises(ArtifactError, match=message):
        Grid(bits, scale, axis)
