"""A sparse weight as the code reads it, and the numpy twin of the sum: the same terms in the same order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from secateur.kernels.fast import blocks_of
from secateur.kernels.shape import ConvShape
from secateur.kernels.sparse_cut import Lanes

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, Int64

ENTRY_BYTES = 8
"""An entry: int32 bytes from a tile's begin in the first plane to the number it multiplies, and the float32 weight."""
ENTRY = np.dtype([("place", np.int32), ("value", np.float32)])


@dataclass(frozen=True)
class Entries:
    """The non-zeros by block of channels and output channel, in each by input channel, row and column of taps.

    starts   bytes from the first entry to that of each [block][output channel], and to the end
    """

    entries: np.ndarray
    starts: Int64[np.ndarray, " rows"]

    @property
    def nbytes(self) -> int:
        """Bytes of both."""
        return self.entries.nbytes + self.starts.nbytes


def packed_sparse(weight: Float32[np.ndarray, "k c r s"], lanes: Lanes) -> Entries:
    """NaN counts as a non-zero."""
    shape, cut = lanes.shape, lanes.cut
    found = np.flatnonzero(weight)
    values = weight.reshape(-1)[found]
    rest, across = np.divmod(found, shape.taps[1])
    rest, down = np.divmod(rest, shape.taps[0])
    rows, channels = np.divmod(rest, weight.shape[1])
    planes = channels + rows // (shape.out_channels // shape.groups) * weight.shape[1]
    taps = down * shape.dilation[0] * lanes.inputs[1] + across * shape.dilation[1]
    bins = planes // cut.channels * shape.out_channels + rows
    count = lanes.blocks * shape.out_channels
    order = np.argsort(bins.astype(np.uint16 if count < 1 << 16 else np.int64), kind="stable")  # 16 bits: by digits
    entries = np.empty(len(values), ENTRY)
    entries["place"] = (planes * lanes.plane_bytes + taps * 4 * lanes.lanes)[order]
    entries["value"] = values[order]
    counts = np.bincount(bins, minlength=count)
    return Entries(entries, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64) * ENTRY_BYTES)


def sparse_convolve(
    shape: ConvShape, x: Float[np.ndarray, "n h w c"], weight: Float32[np.ndarray, "k c_group r s"]
) -> Float32[np.ndarray, "n ho wo k"]:
    """The sum without bias in the kernel's order: fused multiply-adds in float32, from zero on, over the non-zeros of
    an output channel by input channel, row and column of taps.

    A product of two float32 is exact in float64, where the sum is rounded before it is rounded to float32: that
    differs from a fused multiply-add by at most one unit in the last place, in one of some 2^29 terms.
    """
    top, bottom, left, right = shape.padding
    padded = np.pad(x.astype(np.float64), ((0, 0), (top, bottom), (left, right), (0, 0)))
    y = np.zeros(shape.output_shape, np.float32)
    per_group = shape.out_channels // shape.groups
    for k, c, r, s in zip(*np.nonzero(weight), strict=True):
        first = r * shape.dilation[0], s * shape.dilation[1]
        seen = padded[:, first[0] :: shape.stride[0], first[1] :: shape.stride[1], c + k // per_group * weight.shape[1]]
        seen = seen[:, : shape.out_height, : shape.out_width]
        y[..., k] = (y[..., k] + seen * np.float64(weight[k, c, r, s])).astype(np.float32)
    return y


def places(lanes: Lanes) -> tuple[Int64[np.ndarray, "groups inputs lanes"], Int64[np.ndarray, "groups outputs lanes"]]:
    """Bytes into dense channels_last arrays: of the input that each vector of a group's planes is read from, and of
    the output that each vector of its tiles is written to; -1 for padding and beyond the edges."""
    shape, cut = lanes.shape, lanes.cut
    ny, nx = lanes.patches
    number = np.arange(lanes.groups * lanes.lanes)
    image, patch = np.divmod(number, ny * nx)
    corner = np.divmod(patch, nx)
    rows, columns = (corner[axis] * cut.patch[axis] for axis in (0, 1))
    tall, wide = lanes.inputs
    y = rows[:, None] * shape.stride[0] - shape.padding[0] + np.repeat(np.arange(tall), wide)
    x = columns[:, None] * shape.stride[1] - shape.padding[2] + np.tile(np.arange(wide), tall)
    read = _bytes(image, y, x, (shape.batch, shape.height, shape.width, shape.in_channels))
    inner = _tile_order(cut.patch, cut.tile)
    y, x = rows[:, None] + inner[:, 0], columns[:, None] + inner[:, 1]
    written = _bytes(image, y, x, shape.output_shape)
    return _by_group(read, lanes), _by_group(written, lanes)


def tile_starts(lanes: Lanes) -> Int64[np.ndarray, " tiles"]:
    """Bytes from a plane's begin to the first tap of each tile's first output."""
    outputs = _tile_order(lanes.cut.patch, lanes.cut.tile)[:: lanes.tile_vectors]
    return np.array([lanes.place(int(row), int(column)) for row, column in outputs], np.int64)


def _tile_order(patch: tuple[int, int], tile: tuple[int, int]) -> np.ndarray:
    """Row and column of every output of a patch, tile by tile."""
    grid = np.stack(np.meshgrid(np.arange(patch[0]), np.arange(patch[1]), indexing="ij"), -1)
    high, wide = blocks_of(patch[0], tile[0]), blocks_of(patch[1], tile[1])
    return grid.reshape(high, tile[0], wide, tile[1], 2).transpose(0, 2, 1, 3, 4).reshape(-1, 2)


def _bytes(image: np.ndarray, y: np.ndarray, x: np.ndarray, size: tuple[int, int, int, int]) -> np.ndarray:
    """Of pixels (patch, place) in a dense array of `size`; -1 where there is none."""
    batch, height, width, channels = size
    inside = (image[:, None] < batch) & (y >= 0) & (y < height) & (x >= 0) & (x < width)
    return np.where(inside, 4 * channels * ((image[:, None] * height + y) * width + x), -1)


def _by_group(found: np.ndarray, lanes: Lanes) -> np.ndarray:
    by_group = found.reshape(lanes.groups, lanes.lanes, found.shape[1])
    return np.ascontiguousarray(by_group.transpose(0, 2, 1)).astype(np.int64)
