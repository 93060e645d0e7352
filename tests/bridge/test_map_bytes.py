"""bridge.map_bytes: torch's codes and numbers are those that kernels.byte_maps defines."""

import copy

import numpy as np
import pytest
import torch

from secateur.bridge.map_bytes import Codes, Numbers, codes_of, dtype_of_map, numbers_of
from secateur.kernels.byte_maps import ByteMap

MAPS = [ByteMap(0.25), ByteMap(0.25, signed=True), ByteMap(0.0117, signed=True), ByteMap(3.1e-3)]


@pytest.mark.parametrize("one", MAPS)
def test_as_defined(one):
    steps = np.arange(-600, 600, dtype=np.float32) * np.float32(one.scale / 2)
    odd = np.array([np.nan, np.inf, -np.inf, -0.0, 1e30], np.float32)
    normal = np.random.default_rng(0).standard_normal(500).astype(np.float32)
    numbers = np.concatenate([steps, odd, normal])
    codes = codes_of(torch.from_numpy(numbers), one)
    assert codes.dtype == dtype_of_map(one)
    np.testing.assert_array_equal(codes.numpy(), one.codes(numbers))
    np.testing.assert_array_equal(numbers_of(codes, one, torch.float32).numpy(), one.numbers(codes.numpy()))
    assert torch.equal(codes_of(numbers_of(codes, one, torch.float32), one), codes), "codes and back"


def test_without_a_map_nothing_happens():
    x = torch.randn(3)
    assert codes_of(x, None) is x
    assert numbers_of(x, None, torch.float64) is x


def test_as_modules():
    one, x = MAPS[1], torch.randn(1, 2, 3, 4).contiguous(memory_format=torch.channels_last)
    codes = Codes(one)(x)
    numbers = Numbers(one)
    assert torch.equal(codes, codes_of(x, one))
    assert codes.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(numbers(codes), numbers_of(codes, one, torch.float32))
    assert copy.deepcopy(numbers).double()(codes).dtype == torch.float64
    assert "scale=0.25, signed=True" in repr(numbers)
