"""The scales of a quantized tensor in bytes.

One float16 number is just its two bytes. Anything else says how it lies: 0 for one float32 number, otherwise the axis
of the channels, from 1, times two, plus one where the scales are float32; and the scales, as values.
"""

from __future__ import annotations

import numpy as np

from secateur.errors import ArtifactError
from secateur.ir.coding.values import decode_values, encode_values
from secateur.ir.coding.varint import Bytes, Reader, varint
from secateur.ir.grid import Grid

SCALE_BYTES = 2


def is_plain(grid: Grid) -> bool:
    """Whether a grid has one float16 number as its scale."""
    return not grid.by_channel and grid.scale.dtype == np.float16


def encode_scales(grid: Grid) -> bytes:
    """The scales of a grid."""
    wide = grid.scale.dtype == np.float32
    if not grid.by_channel:
        return (varint(0) if wide else b"") + grid.scale.astype(grid.scale.dtype.newbyteorder("<")).tobytes()
    return varint(2 * (grid.axis + 1) + wide) + encode_values(np.ascontiguousarray(grid.scale))


def decode_scales(stream: Bytes, bits: int, shape: tuple[int, ...], *, plain: bool) -> Grid:
    """The grid of a tensor of this shape; ArtifactError where the bytes do not hold its scales."""
    if plain:
        return Grid(bits, np.frombuffer(stream, "<f2").astype(np.float16).reshape(()))
    reader = Reader(stream)
    kind = reader.varint()
    if kind == 0:
        grid = Grid(bits, np.frombuffer(reader.take(4), "<f4").astype(np.float32).reshape(()))
        reader.end()
        return grid
    axis, wide = kind // 2 - 1, kind % 2
    if not 0 <= axis < len(shape):
        raise ArtifactError(f"damaged artifact: scales along axis {axis} for a tensor of shape {shape}")
    return Grid(bits, decode_values(reader.rest(), "float32" if wide else "float16", shape[axis]), axis)
