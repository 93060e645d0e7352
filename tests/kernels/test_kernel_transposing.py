"""kernels.transposing: a square of vectors turned over, by instructions that each target has."""

import ctypes
import re

import numpy as np
import pytest

from kernel_cases import HERE, guarded
from secateur.kernels.build import CodeUnit, built
from secateur.kernels.code import PTR, Module, vector
from secateur.kernels.compiler import assembly
from secateur.kernels.target import TARGETS
from secateur.kernels.transposing import transposed


def module(lanes):
    made = Module()
    f = made.function("turn", {"x": PTR, "y": PTR})
    rows = [f.load(vector(lanes), f["x"] + 4 * lanes * row) for row in range(lanes)]
    for column, value in enumerate(transposed(rows)):
        f.store(value, f["y"] + 4 * lanes * column)
    f.give()
    return made.text()


@pytest.mark.parametrize("lanes", [4, 8, 16])
@pytest.mark.parametrize("target", HERE)
def test_every_number_goes_where_it_belongs(target, lanes):
    code = built(CodeUnit("test", ("turn",), f"turn {lanes}", lambda: module(lanes)), TARGETS[target])
    x = np.arange(lanes * lanes, dtype=np.float32).reshape(lanes, lanes)
    buffer, y = guarded(x.shape)
    ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(code.addresses["turn"])(x.ctypes.data, y.ctypes.data)
    np.testing.assert_array_equal(y, x.T)
    assert np.isnan(buffer).sum() == buffer.size - y.size


@pytest.mark.parametrize("name", TARGETS)
def test_a_step_is_an_instruction(name):
    """log2(lanes) steps of `lanes` instructions, some more on NEON; none looks an order up in memory."""
    lanes = TARGETS[name].lanes
    listing = assembly(module(lanes), TARGETS[name])
    moves = re.findall(r"^\s+(?:vunpck|vshuf|vperm2|vinsert|zip|trn|uzp|ext|mov\s+v)", listing, re.MULTILINE)
    assert 0 < len(moves) <= lanes * (lanes.bit_length() - 1) + 2 * (name == "neon")
    assert "rodata" not in listing
