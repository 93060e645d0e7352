"""The cost model: what it must rank right, and the ways to cut a layer up."""

from dataclasses import replace

import pytest

from secateur.kernels.algorithms import Tiling
from secateur.kernels.cost import best_blocking, blockings, cycles
from secateur.kernels.machine import l2_bytes, machine_name
from secateur.kernels.shape import ConvShape
from secateur.kernels.target import host_target

SHAPE = ConvShape(1, 12, 12, 16, 16, (3, 3), padding=(1, 1, 1, 1))
TARGET = host_target()


def test_the_cost_model_knows_tile_waste_and_gain():
    def estimate(shape, outputs):
        algorithm = Tiling(outputs, (3, 3))
        return cycles(shape, algorithm, TARGET, best_blocking(shape, algorithm, TARGET, 1), 1)

    even = replace(SHAPE, height=56, width=56, in_channels=64, out_channels=64)
    assert estimate(even, (4, 4)) < estimate(even, (2, 2))
    small = replace(even, height=7, width=7, in_channels=32, out_channels=32)
    assert estimate(small, (7, 7)) < estimate(small, (6, 6))
    assert l2_bytes() >= 1 << 17
    assert "cores" in machine_name()


@pytest.mark.parametrize("threads", [1, 2])
def test_blocks_cover_the_tiles(threads):
    algorithm = Tiling((4, 4), (3, 3))
    for shape in (SHAPE, replace(SHAPE, batch=0), replace(SHAPE, in_channels=2048, out_channels=2048)):
        found = blockings(shape, algorithm, TARGET, threads)
        assert found
        assert all(one.block_tiles >= 1 and one.chunk_panels >= 1 for one in found)
        assert any(one.shared for one in found) == (threads > 1)
