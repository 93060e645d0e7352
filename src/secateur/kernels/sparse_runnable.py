"""A convolution with a sparse weight ready to run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from secateur.kernels.build import CodeUnit, built_together
from secateur.kernels.fast import blocks_of
from secateur.kernels.memory import CACHE_LINE_BYTES, aligned
from secateur.kernels.pool import pool_unit
from secateur.kernels.record import float_bits
from secateur.kernels.runnable import Runnable, Setting
from secateur.kernels.shape import ConvShape
from secateur.kernels.sparse_code import SPARSE, SparseCode, sparse_module
from secateur.kernels.sparse_cut import SUMS_BYTES, Lanes, SparseCut
from secateur.kernels.sparse_weights import Entries, packed_sparse, places, tile_starts
from secateur.kernels.target import Target

if TYPE_CHECKING:
    from jaxtyping import Float32

ITEMS_A_THREAD = 4
"""Tiles and chunks of output channels at least, so that no thread waits long for another."""


def lanes_of_layer(setting: Setting, cut: SparseCut) -> Lanes:
    """What a cut makes of a layer on its target."""
    return Lanes(setting.shape, cut, setting.target.lanes)


def sparse_unit(setting: Setting, cut: SparseCut) -> CodeUnit:
    """The code for one geometry and epilogue."""
    shape, target, lanes = setting.shape, setting.target, lanes_of_layer(setting, cut)
    ragged = shape.in_channels % target.lanes != 0, shape.out_channels % target.lanes != 0
    code = SparseCode(target, setting.epilogue, lanes.tile_places, ragged)
    return CodeUnit("sparse", ("sparse_convolution",), code.code_name, lambda: sparse_module(code))


def sparse_weights(weight: Float32[np.ndarray, "k c r s"], setting: Setting, cut: SparseCut) -> Entries:
    """The non-zeros of a weight as this cut of a layer reads them."""
    return packed_sparse(weight, lanes_of_layer(setting, cut))


def sparse_runnable(setting: Setting, cut: SparseCut, weights: Entries, bias: np.ndarray) -> Runnable:
    """A convolution with weights from `sparse_weights` and a bias from `padded_bias`."""
    shape, target, lanes = setting.shape, setting.target, lanes_of_layer(setting, cut)
    code = built_together([sparse_unit(setting, cut), pool_unit(target)], target)[0]
    read, written = places(lanes)
    starts, nothing = tile_starts(lanes), aligned(shape.in_channels + target.lanes)
    rows = chunk_rows(shape, lanes, target, setting.threads)
    planes_bytes = lanes.plane_bytes * blocks_of(shape.in_channels, target.lanes) * target.lanes
    sums_bytes = blocks_of(rows, target.lanes) * target.lanes * lanes.tile_vectors * target.vector_bytes
    sums_bytes += max(target.vector_bytes, CACHE_LINE_BYTES)
    layer = SPARSE.pack(
        groups=lanes.groups,
        read=read.ctypes.data,
        read_bytes=8 * lanes.plane_vectors * target.lanes,
        written=written.ctypes.data,
        written_bytes=8 * lanes.tiles * lanes.tile_vectors * target.lanes,
        nothing=nothing.ctypes.data,
        channels=shape.in_channels,
        plane_vectors=lanes.plane_vectors,
        plane_bytes=lanes.plane_bytes,
        planes_bytes=planes_bytes,
        tiles=lanes.tiles,
        tile_starts=starts.ctypes.data,
        chunks=blocks_of(shape.out_channels, rows),
        chunk_rows=rows,
        sums_bytes=sums_bytes,
        blocks=lanes.blocks,
        starts=weights.starts.ctypes.data,
        entries=weights.entries.ctypes.data,
        out_channels=shape.out_channels,
        bias=bias.ctypes.data,
        slope=float_bits(setting.epilogue.slope),
    )
    function = code.addresses["sparse_convolution"]
    keep = (code, read, written, starts, nothing, weights, bias)
    workspace = planes_bytes + setting.threads * sums_bytes
    return Runnable(target, function, layer, workspace, setting.threads, shape.batch == 0, keep)


def chunk_rows(shape: ConvShape, lanes: Lanes, target: Target, threads: int) -> int:
    """Output channels of a chunk, whole vectors of them: few enough that sums stay near, and threads have shares."""
    most = blocks_of(shape.out_channels, target.lanes)
    fitting = SUMS_BYTES // (lanes.tile_vectors * target.vector_bytes * target.lanes)
    wanted = 1 if threads == 1 else blocks_of(ITEMS_A_THREAD * threads, lanes.tiles)
    return max(1, min(fitting, blocks_of(most, wanted), most)) * target.lanes
