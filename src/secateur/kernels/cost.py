"""An estimate of what a fast convolution costs, in cycles of one core: good enough to narrow dozens of ways to a few.

Counted are the products and what a register tile takes around its walk, the transforms with the tiles that reach over
the edge, and the transformed weights, which are read once a block of tiles and are what small maps with many channels
wait for. The constants are those of Zen 4: least squares over 140 tilings of ten layers, stage by stage; products
came out within 3 % of their times where weights fit the caches, transforms, a fifth of the whole, within 15 %.
"""

from __future__ import annotations

from itertools import product
from math import prod

from secateur.kernels.algorithms import EXTRA_PRODUCTS, Tiling
from secateur.kernels.fast import Blocking, blocks_of, tiles_of
from secateur.kernels.machine import cpu_name, l2_bytes, l3_bytes
from secateur.kernels.products_stage import summed_channels
from secateur.kernels.shape import ConvShape
from secateur.kernels.target import Target

FMAS_A_CYCLE, ONE_FMA = 2.0, {("znver4", 16): 1.0}
"""Vector FMAs a cycle, and of processors (and lanes) that do fewer."""
PRODUCT_SHARE, CALL_CYCLES = 0.97, 30.0
"""Of the FMA peak that a register tile reaches, and what it takes around its walk."""
FAR_BYTES_A_CYCLE, FARTHEST_BYTES_A_CYCLE = 24.0, 7.5
"""Of what is read in order, so in time: from the last cache, and from memory."""
OVERLAP = 0.03
"""Part of the shorter of computing and waiting for memory that does not hide behind the longer."""
CYCLES_A_STEP = {"": 0.4, "x^2+1": 0.36, "x^6-1": 0.52}
"""Of a transform, an element of the matrix of an axis and vector; half of its elements are shared or zero."""
CYCLES_AN_ELEMENT = 1.5
"""To read and write one of a tile, in each transform."""
CYCLES_AT_THE_EDGE = 7.0
"""More, where a tile reaches over the edge."""
CACHE_SHARES = (0.3, 0.6, 1.2, 1.6)
"""Parts of the second-level cache that transformed data may take."""


def tile_bytes(shape: ConvShape, algorithm: Tiling) -> int:
    """Transformed input and products of one tile."""
    return 4 * algorithm.products * (shape.in_channels + shape.out_channels)


def blockings(shape: ConvShape, algorithm: Tiling, target: Target, threads: int) -> list[Blocking]:
    """Ways to cut a layer up: blocks of equal size that take a part of the cache, of whole register tiles or of any
    number of tiles."""
    rows, columns = tiles_of(shape, algorithm)
    tiles = max(1, shape.batch * rows * columns)
    panels = blocks_of(shape.out_channels, target.panel)
    found = []
    for share in CACHE_SHARES:
        fitting = max(target.rows, int(share * l2_bytes() / tile_bytes(shape, algorithm)))
        most = (fitting // target.rows * target.rows, fitting)
        for shared, size in product((False, True) if threads > 1 else (False,), most):
            workers = 1 if shared else threads
            rounds = blocks_of(blocks_of(tiles, size), workers) * workers
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
    depth = in_blocks * target.lanes
    fmas = algorithm.products * tiles * depth * out_blocks
    pieces = blocks * blocks_of(min(tiles, blocking.block_tiles), target.rows)
    parts = blocks_of(depth, summed_channels(algorithm.products))
    calls = algorithm.products * blocks_of(out_blocks, target.columns) * pieces * parts
    rate = PRODUCT_SHARE * ONE_FMA.get((cpu_name(), target.lanes), FMAS_A_CYCLE)
    work = fmas / rate + CALL_CYCLES * calls
    work += _transforms(shape, algorithm, in_blocks, out_blocks)
    weight_bytes = 4 * algorithm.products * shape.in_channels * out_blocks * target.lanes
    block_bytes = min(tiles, blocking.block_tiles) * tile_bytes(shape, algorithm)
    far = weight_bytes * blocks * _beyond(weight_bytes + block_bytes, l2_bytes())
    far += 2 * tiles * tile_bytes(shape, algorithm) * _beyond(block_bytes, l2_bytes())
    farthest = weight_bytes * blocks * _beyond(weight_bytes, l3_bytes())
    far = far / FAR_BYTES_A_CYCLE + farthest / FARTHEST_BYTES_A_CYCLE
    rounds = blocks if blocking.shared else blocks_of(blocks, threads) * threads
    idle = rounds / max(1, blocks)
    return (max(work, far) + OVERLAP * min(work, far)) * idle / threads


def best_blocking(shape: ConvShape, algorithm: Tiling, target: Target, threads: int) -> Blocking:
    """The way to cut a layer up that the estimate likes best."""
    ways = blockings(shape, algorithm, target, threads)
    return min(ways, key=lambda blocking: cycles(shape, algorithm, target, blocking, threads))


def _beyond(size_bytes: int, cache_bytes: int) -> float:
    """The part of data read again and again that is no longer in a cache when it is: 0 where all fits."""
    return min(1.0, max(0.0, size_bytes / cache_bytes - 0.5) * 2)


def _transforms(shape: ConvShape, algorithm: Tiling, in_blocks: int, out_blocks: int) -> float:
    """Cycles of all input and output transforms: rows first, then columns. Estimated from sizes, as making a hundred
    exact algorithms only to count their additions would take a second."""
    (m, n), (r, s) = algorithm.outputs, algorithm.taps
    rows, columns = m + r - 1, n + s - 1
    p, q = (extent + EXTRA_PRODUCTS[name] for extent, name in zip((rows, columns), algorithm.beside, strict=True))
    down, across = (CYCLES_A_STEP[name] for name in algorithm.beside)
    into = p * columns * (down * rows + across * q) + CYCLES_AN_ELEMENT * rows * columns
    back = m * q * (down * p + across * n) + CYCLES_AN_ELEMENT * p * q
    tiles, whole, inner = (prod(of(shape, algorithm)) for of in (tiles_of, _whole, _inner))
    into = into * tiles + CYCLES_AT_THE_EDGE * rows * columns * (tiles - inner)
    back = back * tiles + CYCLES_AT_THE_EDGE * m * n * (tiles - whole)
    return shape.batch * (into * in_blocks + back * out_blocks)


def _whole(shape: ConvShape, algorithm: Tiling) -> tuple[int, int]:
    """Rows and columns of tiles that lie in the output."""
    return shape.out_height // algorithm.outputs[0], shape.out_width // algorithm.outputs[1]


def _inner(shape: ConvShape, algorithm: Tiling) -> tuple[int, int]:
    """Rows and columns of tiles whose inputs lie in the image."""
    sizes, before = (shape.height, shape.width), (shape.padding[0], shape.padding[2])
    steps = [m * stride for m, stride in zip(algorithm.outputs, shape.stride, strict=True)]
    reach = [m + r - 1 for m, r in zip(algorithm.outputs, algorithm.taps, strict=True)]
    axes = zip(tiles_of(shape, algorithm), sizes, before, steps, reach, strict=True)
    rows, columns = (
        max(0, min(count, (size + pad - inputs) // step + 1) - blocks_of(pad, step))
        for count, size, pad, step, inputs in axes
    )
    return rows, columns
