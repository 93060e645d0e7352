"""The register tile against its twin, for every height and width, walks of any length."""

import ctypes

import numpy as np
import pytest

from kernel_cases import HERE
from secateur.kernels.build import CodeUnit, built
from secateur.kernels.code import I64, PTR, Module
from secateur.kernels.record import Record, float_bits
from secateur.kernels.register_tile import WALK, Tile, emit_block_tile, emit_tile, tile_product
from secateur.kernels.target import TARGETS

Function = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)


def library_of(tile: Tile, name: str, arguments: dict[str, str], emit_product):
    """One function "tile" that stores what emit_product makes."""

    def emit() -> str:
        module = Module()
        f = module.function("tile", arguments)
        size = tile.target.vector_bytes
        emit_product(f, tile, lambda row, column, v: f.store(v, f["c"] + (row * tile.columns + column) * size))
        f.give()
        return module.text()

    return built(CodeUnit(name, ("tile",), repr(tile), emit), tile.target)


def tile_function(tile: Tile):
    library = library_of(tile, "test tile", {"a": PTR, "b": PTR, "walk": PTR, "c": PTR}, emit_tile)
    function = Function(library.addresses["tile"])
    function.library = library
    return function


@pytest.mark.parametrize("name", HERE)
def test_against_the_twin(name):
    target = TARGETS[name]
    draw = np.random.default_rng(0)
    for rows in (1, 2, 5, target.rows):
        for columns in range(1, target.columns + 1):
            for outer, middle, inner in ((1, 1, 0), (1, 1, 1), (1, 3, 5), (2, 2, 8)):
                depth = outer * middle * inner
                a = draw.standard_normal((rows, max(1, depth))).astype(np.float32)[:, :depth]
                b = draw.standard_normal((depth, columns * target.lanes)).astype(np.float32)
                padded = np.zeros((rows, 40), np.float32)
                padded[:, :depth] = a
                walk = WALK.pack(
                    outer=outer, a_outer=4 * middle * inner, b_outer=4 * middle * inner * b.shape[1],
                    middle=middle, a_middle=4 * inner, b_middle=4 * inner * b.shape[1], inner=inner,
                )  # fmt: skip
                c = np.full((rows, columns * target.lanes), np.nan, np.float32)
                run = tile_function(Tile(target, rows, columns, 4 * padded.shape[1]))
                run(padded.ctypes.data, b.ctypes.data, ctypes.addressof(walk), c.ctypes.data)
                np.testing.assert_allclose(c, tile_product(a, b), rtol=1e-4, atol=1e-5)


def block_function(tile: Tile):
    arguments = {"a": PTR, "b": PTR, "c": PTR, "blocks": I64, "block_bytes": I64}
    library = library_of(tile, "test block tile", arguments, emit_block_tile)
    function = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, *[ctypes.c_int64] * 2)(library.addresses["tile"])
    function.library = library
    return function


@pytest.mark.parametrize("name", HERE)
def test_whole_blocks_against_the_twin(name):
    """Blocks of a lie apart with other numbers between them."""
    target = TARGETS[name]
    draw = np.random.default_rng(0)
    for rows in (1, 5, target.rows):
        for columns in range(1, target.columns + 1):
            run = block_function(Tile(target, rows, columns, target.vector_bytes))
            for blocks in (0, 1, 3):
                apart = draw.standard_normal((blocks, rows + 2, target.lanes)).astype(np.float32)
                a = apart[:, :rows].transpose(1, 0, 2).reshape(rows, blocks * target.lanes)
                b = draw.standard_normal((blocks * target.lanes, columns * target.lanes)).astype(np.float32)
                c = np.full((rows, columns * target.lanes), np.nan, np.float32)
                run(apart.ctypes.data, b.ctypes.data, c.ctypes.data, blocks, 4 * (rows + 2) * target.lanes)
                np.testing.assert_allclose(c, tile_product(a, b), rtol=1e-4, atol=1e-5)


def test_records():
    record = Record("one", "two")
    packed = record.pack(two=2, one=1)
    assert list(packed) == [1, 2]
    assert record.size_bytes == ctypes.sizeof(packed)
    with pytest.raises(TypeError, match="three"):
        record.pack(one=1, two=2, three=3)
    with pytest.raises(TypeError, match="two"):
        record.pack(one=1)
    assert np.array([float_bits(-0.3)], np.int64).view(np.float32)[0] == np.float32(-0.3)
