"""Maps of bytes: what a code stands for, which code a number gets, and in what memory they lie."""

import numpy as np
import pytest

from secateur.errors import KernelError
from secateur.kernels.byte_maps import FLOATS, ByteMap, ByteMaps, bytes_of, dtype_of, room


def test_halves_go_up_and_what_is_beyond_gets_an_end():
    numbers = np.array([-1.5, -0.5, 0.5, 1.5, 1000, -1000, np.nan, np.inf], np.float32)
    assert ByteMap(1.0, signed=True).codes(numbers).tolist() == [-1, 0, 1, 2, 127, -127, 0, 127]
    assert ByteMap(1.0).codes(numbers).tolist() == [0, 0, 1, 2, 255, 0, 0, 255]


@pytest.mark.parametrize("signed", [False, True])
def test_codes_of_numbers_of_codes_are_the_codes(signed):
    one = ByteMap(0.03, signed)
    codes = np.arange(one.ends[0], one.ends[1] + 1).astype(one.dtype)
    np.testing.assert_array_equal(one.codes(one.numbers(codes)), codes)


def test_memory_and_names():
    assert room((3, 5), None).dtype == dtype_of(None) == np.float32
    made = room((3, 5), ByteMap(1.0))
    assert (made.dtype, made.shape, made.ctypes.data % 64) == (np.uint8, (3, 5), 0)
    assert (bytes_of(None), bytes_of(ByteMap(1.0))) == (4, 1)
    assert FLOATS.code_name == "float float float"
    assert ByteMaps(ByteMap(1.0), None, ByteMap(2.0, signed=True)).code_name == "uint8 float int8"


@pytest.mark.parametrize("scale", [0.0, -1.0, np.inf, np.nan])
def test_a_scale_is_a_positive_number(scale):
    with pytest.raises(KernelError, match="scale="):
        ByteMap(scale)
