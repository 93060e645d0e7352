"""A fast convolution as numbers and code: weights transformed once, the layer's record, the modules that run it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from secateur.errors import KernelError
from secateur.kernels.algorithms import Algorithm
from secateur.kernels.code import Module
from secateur.kernels.driver import emit_driver
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.input_stage import emit_input_stage
from secateur.kernels.layout import STAGES, spread
from secateur.kernels.memory import aligned
from secateur.kernels.output_stage import emit_output_stage
from secateur.kernels.products_stage import emit_products_stage, summed_channels
from secateur.kernels.shape import ConvShape
from secateur.kernels.target import Target
from secateur.maths.bilinear import Bilinear

if TYPE_CHECKING:
    from jaxtyping import Float32

PACKED_CHANNELS = 16
"""Channels of a panel of weights that are transformed at a time, always into the same memory: new memory for each part
would take longer to get than to fill."""


@dataclass(frozen=True)
class Blocking:
    """How a layer is cut up.

    block_tiles    tiles that go through the three stages together
    chunk_panels   panels of output channels multiplied before they are transformed back
    shared         whether all threads work on the same block
    """

    block_tiles: int
    chunk_panels: int
    shared: bool


def blocks_of(count: int, size: int) -> int:
    """How many blocks of `size` hold `count`."""
    return -(-count // size)


def has_fast(shape: ConvShape) -> bool:
    """Whether a layer is one that fast algorithms compute."""
    return shape.dilation == (1, 1) and shape.groups == 1 and (shape.stride == (1, 1) or shape.taps == (1, 1))


def check_fits(shape: ConvShape, algorithm: Algorithm) -> None:
    """KernelError where an algorithm cannot compute a layer."""
    if algorithm.taps != shape.taps:
        raise KernelError(f"an algorithm for {algorithm.taps} taps does not compute a layer with {shape.taps}")
    if not has_fast(shape):
        raise KernelError("a fast convolution needs dilation 1, one group and stride 1 or one tap; use the direct one")


def tiles_of(shape: ConvShape, algorithm: Algorithm) -> tuple[int, int]:
    """Rows and columns of tiles that cover an output image."""
    return blocks_of(shape.out_height, algorithm.outputs[0]), blocks_of(shape.out_width, algorithm.outputs[1])


def fast_weights(
    weight: Float32[np.ndarray, "k c r s"], algorithm: Algorithm, target: Target
) -> Float32[np.ndarray, "products panels size"]:
    """g w in float64, rounded once, in panels: [point][panel][channel][output channel of the panel], else zeros.

    The last panel is as narrow as whole vectors allow; channels are filled up to whole vectors. A few channels of a
    panel at a time: many times faster than all at once, as nothing of it leaves the cache before it is rounded.
    """
    matrix, lanes, panel = algorithm.filter_matrix(), target.lanes, target.panel
    products, channels = algorithm.products, weight.shape[1]
    padded = blocks_of(channels, lanes) * lanes
    packed = aligned((products, blocks_of(weight.shape[0], panel), padded * panel))
    space = np.empty(products * min(channels, PACKED_CHANNELS) * min(len(weight), panel))
    for number in range(packed.shape[1]):
        part = weight[number * panel : (number + 1) * panel].reshape(-1, channels, matrix.shape[1])
        count = len(part)
        width = blocks_of(count, lanes) * lanes
        room = packed[:, number, : padded * width].reshape(products, padded, width)
        for first in range(0, channels, PACKED_CHANNELS):
            some = part[:, first : first + PACKED_CHANNELS].transpose(2, 1, 0).astype(np.float64, order="C")
            points = space[: products * some[0].size].reshape(products, -1)
            np.matmul(matrix, some.reshape(len(some), -1), out=points)
            room[:, first : first + some.shape[1], :count] = points.reshape(products, -1, count)
    return packed


def layer_numbers(shape: ConvShape, algorithm: Algorithm, target: Target, blocking: Blocking) -> dict[str, int]:
    """The layer's record without addresses and slope."""
    lanes, size = target.lanes, target.vector_bytes
    rows, columns = tiles_of(shape, algorithm)
    channel_blocks, out_blocks = blocks_of(shape.in_channels, lanes), blocks_of(shape.out_channels, lanes)
    block = blocking.block_tiles * size
    v_point = spread(block * channel_blocks)
    chunk_blocks = min(out_blocks, blocking.chunk_panels * target.columns)
    m_point = spread(block * chunk_blocks)
    padded = channel_blocks * lanes
    panels = blocks_of(shape.out_channels, target.panel)
    tiles = shape.batch * rows * columns
    found: dict[str, int] = {}
    found.update(height=shape.height, width=shape.width, channels=shape.in_channels, channel_blocks=channel_blocks)
    found.update(_distances("", shape.height, shape.width, shape.in_channels))
    found.update(pad_top=shape.padding[0], pad_left=shape.padding[2])
    step_rows, step_columns = (m * stride for m, stride in zip(algorithm.outputs, shape.stride, strict=True))
    found.update(step_rows=step_rows, step_columns=step_columns)
    found.update(out_height=shape.out_height, out_width=shape.out_width)
    found.update(_distances("out_", shape.out_height, shape.out_width, shape.out_channels))
    found.update(out_channels=shape.out_channels, out_blocks=out_blocks, panels=panels)
    found.update(chunk_panels=blocking.chunk_panels, points=algorithm.products)
    found.update(parts=blocks_of(channel_blocks * lanes, summed_channels(algorithm.products)))
    found.update(tile_columns=columns, image_tiles=rows * columns, tiles=tiles)
    found.update(block_tiles=blocking.block_tiles, blocks=blocks_of(tiles, blocking.block_tiles))
    found.update(v_point_bytes=v_point, m_point_bytes=m_point, block_bytes=block)
    found.update(weight_panel_bytes=4 * padded * target.panel, weight_point_bytes=4 * padded * target.panel * panels)
    found.update(m_offset_bytes=v_point * algorithm.products, group_bytes=(v_point + m_point) * algorithm.products)
    found.update(shared=int(blocking.shared), stages=sum(STAGES.values()))
    return found


def _distances(prefix: str, height: int, width: int, channels: int) -> dict[str, int]:
    """Bytes from image to image, row to row and pixel to pixel of a dense channels_last array."""
    steps = {"image": 4 * height * width * channels, "row": 4 * width * channels, "pixel": 4 * channels}
    return {f"{prefix}{name}_bytes": step for name, step in steps.items()}


def driver_module(target: Target) -> str:
    """fast_convolution(layer, call, member, members): the code that all fast convolutions share."""
    module = Module()
    emit_products_stage(module, target)
    emit_driver(module, target)
    return module.text()


def input_module(target: Target, algorithm: Bilinear) -> str:
    """input_stage: the code of an algorithm."""
    module = Module()
    emit_input_stage(module, target, algorithm)
    return module.text()


def output_module(target: Target, algorithm: Bilinear, epilogue: Epilogue) -> str:
    """output_stage: the code of an algorithm with an epilogue."""
    module = Module()
    emit_output_stage(module, target, algorithm, epilogue)
    return module.text()
