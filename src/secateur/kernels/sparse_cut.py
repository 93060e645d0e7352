"""How a convolution with a sparse weight is cut up: patches of the output side by side in lanes, tiles, channel blocks.

Every lane of a vector holds the same place of another patch of the output (of other images too). So a tap, a stride or
a dilation moves whole vectors, every load begins at a cache line, and no shape is special.
"""

from __future__ import annotations

from dataclasses import dataclass

from secateur.kernels.fast import blocks_of
from secateur.kernels.layout import spread
from secateur.kernels.machine import l2_bytes
from secateur.kernels.shape import ConvShape, is_square
from secateur.kernels.target import Target

Pair = tuple[int, int]
LARGEST_BYTES = 1 << 31
"""Of planes: places in them are int32."""
LONGEST_PATCH = 32
"""Rows and columns of a patch at most."""
FIRST_LEVEL_BYTES = 36 << 10
"""Of a tile's input that are read again and again for all rows of weights."""
SUMS_BYTES = 64 << 10
"""Of sums of a tile that wait between channel blocks."""
VECTORS = {16: 14, 8: 10, 4: 20}
"""Lanes -> vectors of sums of a tile at most, which stay in registers."""
IN_CYCLES, OUT_CYCLES, SUM_CYCLES, ROW_CYCLES, ENTRY_CYCLES = 6.0, 9.0, 2.0, 5.0, 1.5
"""To bring a vector into lanes or out of them, to load and store one of sums; around a row of weights, and an entry.
Measured on Zen 4; good enough to narrow hundreds of ways to a few that are timed."""
NEAR_BYTES_A_CYCLE, FAR_BYTES_A_CYCLE = 32.0, 10.0
"""Into the first-level cache from the second and from the last."""


@dataclass(frozen=True)
class SparseCut:
    """Outputs of a patch and of a tile, which divides it (rows, columns), and channels of a block."""

    patch: Pair
    tile: Pair
    channels: int


@dataclass(frozen=True)
class Lanes:
    """What a cut makes of a layer, in vectors (one number of every patch of a group).

    shape, cut, lanes   what it follows from
    """

    shape: ConvShape
    cut: SparseCut
    lanes: int

    @property
    def patches(self) -> Pair:
        """Rows and columns of patches that cover an output image."""
        return blocks_of(self.shape.out_height, self.cut.patch[0]), blocks_of(self.shape.out_width, self.cut.patch[1])

    @property
    def groups(self) -> int:
        """How many times all lanes are filled with patches; the last may be partly empty."""
        rows, columns = self.patches
        return blocks_of(self.shape.batch * rows * columns, self.lanes)

    @property
    def inputs(self) -> Pair:
        """Rows and columns of what a patch reads."""
        return _reached(self.shape, self.cut.patch)

    @property
    def plane_vectors(self) -> int:
        """Of one channel of a group."""
        return self.inputs[0] * self.inputs[1]

    @property
    def plane_bytes(self) -> int:
        """From channel to channel; an odd number of cache lines, so that channels do not push one another out."""
        return spread(self.plane_vectors * 4 * self.lanes)

    @property
    def tiles(self) -> int:
        """Of a patch."""
        (rows, columns), (high, wide) = self.cut.patch, self.cut.tile
        return rows // high * (columns // wide)

    @property
    def tile_vectors(self) -> int:
        """Outputs of a tile."""
        return self.cut.tile[0] * self.cut.tile[1]

    @property
    def blocks(self) -> int:
        """Of channels."""
        return blocks_of(self.shape.in_channels, self.cut.channels)

    def place(self, row: int, column: int) -> int:
        """Bytes from a plane's begin to the first tap of an output of the patch."""
        down, across = self.shape.stride
        return (row * down * self.inputs[1] + column * across) * 4 * self.lanes

    @property
    def tile_places(self) -> tuple[int, ...]:
        """Bytes from the first output of a tile to each, in the input's plane: constants of the code."""
        return tuple(self.place(row, column) for row in range(self.cut.tile[0]) for column in range(self.cut.tile[1]))


def _reached(shape: ConvShape, outputs: Pair) -> Pair:
    rows, columns = (
        (count - 1) * stride + reach for count, stride, reach in zip(outputs, shape.stride, shape.reach, strict=True)
    )
    return rows, columns


def cuts(shape: ConvShape, target: Target, nonzeros: int, count: int) -> list[SparseCut]:
    """The `count` ways of least estimated cost to cut a layer whose weight has so many non-zeros, the best first, each
    with a tile of its own; on square layers only one of a cut and its transpose, which takes as long. None for layers
    with 2 GiB of planes."""
    found: list[tuple[float, Pair, SparseCut]] = []
    square = is_square(shape)
    for high in _lengths(shape.out_height):
        for wide in _lengths(shape.out_width):
            tiles = [
                (rows, columns)
                for rows in _divisors(high)
                for columns in _divisors(wide)
                if rows * columns <= VECTORS[target.lanes]
            ]
            for tile in tiles:
                lanes = _with_channels(shape, (high, wide), tile, target)
                mirrored = square and (wide, tile[1]) < (high, tile[0])
                if not mirrored and lanes.plane_bytes * shape.in_channels < LARGEST_BYTES:
                    found.append((sparse_cycles(lanes, nonzeros), lanes.cut.patch, lanes.cut))
    best: dict[Pair, SparseCut] = {}
    for _, _, cut in sorted(found, key=lambda one: one[:2]):
        best.setdefault(cut.tile, cut)
    return list(best.values())[:count]


def _with_channels(shape: ConvShape, patch: Pair, tile: Pair, target: Target) -> Lanes:
    """As many channels a block as the first-level cache holds of a tile's input, in blocks of equal size."""
    rows, columns = _reached(shape, tile)
    fitting = max(1, FIRST_LEVEL_BYTES // (rows * columns * target.vector_bytes))
    blocks = blocks_of(shape.in_channels, fitting)
    return Lanes(shape, SparseCut(patch, tile, blocks_of(shape.in_channels, blocks)), target.lanes)


def sparse_cycles(lanes: Lanes, nonzeros: int) -> float:
    """An estimate for one thread."""
    shape, vectors = lanes.shape, lanes.tile_vectors
    channels, outputs = (
        blocks_of(count, lanes.lanes) * lanes.lanes for count in (shape.in_channels, shape.out_channels)
    )
    rows, columns = _reached(shape, lanes.cut.tile)
    far = lanes.plane_bytes * channels > l2_bytes() * 3 // 4
    reading = rows * columns * 4 * lanes.lanes * channels / (FAR_BYTES_A_CYCLE if far else NEAR_BYTES_A_CYCLE)
    sums = lanes.blocks * shape.out_channels * (vectors * SUM_CYCLES + ROW_CYCLES)
    tile = nonzeros * (vectors + ENTRY_CYCLES) + sums + reading + vectors * outputs * OUT_CYCLES
    return lanes.groups * (lanes.tiles * tile + lanes.plane_vectors * channels * IN_CYCLES)


def _lengths(size: int) -> list[int]:
    """Lengths of patches that cover `size` in equal numbers."""
    return sorted({blocks_of(size, parts) for parts in range(1, size + 1)} & set(range(1, LONGEST_PATCH + 1)))


def _divisors(size: int) -> list[int]:
    return [number for number in range(1, size + 1) if size % number == 0]
