"""An estimate of what a fast convolution costs, in cycles of one core: good enough to narrow dozens of ways to a few.

Counted are the products with the rows that register tiles leave empty, the transforms with their additions and their
traffic, tiles that reach over the edge (they are whole tiles), and the transformed weights, which are read once a block
of tiles and are what small maps with many channels wait for.
"""

from __future__ import annotations

import functools

from secateur.kernels.algorithms import Tiling
from secateur.kernels.fast import Blocking, blocks_of, tiles_of
from secateur.kernels.machine import l2_bytes
from secateur.kernels.shape import ConvShape
from secateur.kernels.target import Target
from secateur.maths.transform import Transform

FMAS_A_CYCLE = 2
PRODUCT_SHARE = 0.9
"""Of the FMA peak, that the register tile reaches."""
FAR_BYTES_A_CYCLE = 6.0
"""From the caches beyond a core's own."""
OVERLAP = 0.3
"""Part of the shorter of computing and waiting for memory that does not hide behind the longer."""
CYCLES_AN_OPERATION = 0.9
"""Addition, half a multiplication, or a vector from or to memory, in a transform."""
CACHE_SHARES = (0.3, 0.6, 1.2)
"""Parts of the second-level cache that transformed data may take."""


def tile_bytes(shape: ConvShape, algorithm: Tiling) -> int:
    """Transformed input and products of one tile."""
    return 4 * algorithm.products * (shape.in_channels + shape.out_channels)


def blockings(shape: ConvShape, algorithm: Tiling, target: Target, threads: int) -> list[Blocking]:
    """Ways to cut a layer up: blocks of whole register tiles that take a part of the cache."""
    rows, columns = tiles_of(shape, algorithm)
    tiles = max(1, shape.batch * rows * columns)
    panels = blocks_of(shape.out_channels, target.panel)
    found = []
    for share in CACHE_SHARES:
        fitting = max(1, int(share * l2_bytes() / tile_bytes(shape, algorithm) / target.rows))
        for shared in (False, True) if threads > 1 else (False,):
            workers = 1 if shared else threads
            rounds = blocks_of(blocks_of(tiles, fitting * target.rows), workers) * workers
            size = max(1, blocks_of(tiles, rounds))
            found.append(Blocking(size, panels, shared))
            if size * tile_bytes(shape, algorithm) > l2_bytes() and panels > 1:
                found.append(Blocking(size, max(1, panels // 4), shared))
    return list(dict.fromkeys(found))


def cycles(shape: ConvShape, algorithm: Tiling, target: Target, blocking: Blocking, threads: int) -> float:
    """The estimate, for the thread that is done last."""
    rows, columns = tiles_of(shape, algorithm)
    tiles = shape.batch * rows * columns
    blocks = blocks_of(tiles, blocking.block_tiles)
    in_blocks, out_blocks = (blocks_of(c, target.lanes) for c in (shape.in_channels, shape.out_channels))
    fmas = algorithm.products * tiles * in_blocks * target.lanes * out_blocks
    work = fmas / FMAS_A_CYCLE / PRODUCT_SHARE
    transform_in, transform_out = _transforms(algorithm)
    work += (transform_in * in_blocks + transform_out * out_blocks) * tiles
    weight_bytes = 4 * algorithm.products * shape.in_channels * out_blocks * target.lanes
    block_bytes = min(tiles, blocking.block_tiles) * tile_bytes(shape, algorithm)
    far = weight_bytes * blocks * _beyond(weight_bytes + block_bytes)
    far += 2 * tiles * tile_bytes(shape, algorithm) * _beyond(block_bytes)
    far /= FAR_BYTES_A_CYCLE
    rounds = blocks if blocking.shared else blocks_of(blocks, threads) * threads
    idle = rounds / max(1, blocks)
    return (max(work, far) + OVERLAP * min(work, far)) * idle / threads


def best_blocking(shape: ConvShape, algorithm: Tiling, target: Target, threads: int) -> Blocking:
    """The way to cut a layer up that the estimate likes best."""
    ways = blockings(shape, algorithm, target, threads)
    return min(ways, key=lambda blocking: cycles(shape, algorithm, target, blocking, threads))


def _beyond(size_bytes: int) -> float:
    """The part of data read again and again that is no longer in a core's own cache when it is: 0 where all fits."""
    return min(1.0, max(0.0, size_bytes / l2_bytes() - 0.5) * 2)


@functools.cache
def _transforms(algorithm: Tiling) -> tuple[float, float]:
    """Cycles of input and output transform of one tile and one vector of channels: rows first, then columns."""
    rows, columns = algorithm.axes
    into = _axis(rows.input_transform) * columns.inputs[0] + _axis(columns.input_transform) * rows.products
    back = _axis(rows.output_transform) * columns.products + _axis(columns.output_transform) * rows.outputs[0]
    return into, back


def _axis(transform: Transform) -> float:
    """Cycles for one vector along an axis."""
    traffic = sum(stage.repeats * sum(stage.matrix.shape) for stage in transform.stages)
    return CYCLES_AN_OPERATION * (transform.adds + transform.multiplies / 2 + traffic)
