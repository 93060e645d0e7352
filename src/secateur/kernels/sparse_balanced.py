"""BalancedConvKernel: one convolution as generated code, for a balanced weight of float32, int8 or 4-bit codes."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from secateur.errors import KernelError
from secateur.ir.balanced_format import ROWS, Balanced, unit_columns
from secateur.kernels.arrays import check_array
from secateur.kernels.build import CodeUnit, built
from secateur.kernels.byte_maps import bytes_of, dtype_of, room
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.fast import blocks_of
from secateur.kernels.linear import LinearOptions, check_maps
from secateur.kernels.linear_bytes import MOST_PRODUCTS, byte_target
from secateur.kernels.linear_code import LinearPlan
from secateur.kernels.linear_quantize import LARGEST, LEAST_SCALE, quantized
from secateur.kernels.linear_weights import form_of, packed, products_of, row_scales, table_of
from secateur.kernels.machine import l2_bytes
from secateur.kernels.memory import CACHE_LINE_BYTES
from secateur.kernels.record import float_bits
from secateur.kernels.runnable import Runnable
from secateur.kernels.shape import ConvShape, convolve
from secateur.kernels.sparse_balanced_code import BALANCED, ConvCode, PixelTile, balanced_module, span_blocks
from secateur.kernels.target import host_target

if TYPE_CHECKING:
    from jaxtyping import Float32, Int64, Shaped

PLAIN, DEFAULT = Epilogue(), LinearOptions()
TILE_COST = 4
"""Pixels that decoding the weights of a tile costs as much as."""
Pair = tuple[int, int]


def conv_matrix(weight: Shaped[np.ndarray, "k c r s"], count: int) -> Shaped[np.ndarray, "k columns"]:
    """A weight as the matrix that a balanced convolution reads: tap by tap, in each the input channels, filled up with
    zeros to whole units. Groups of 16 are input channels of one tap; `balanced` and `balanced_codes` take it."""
    k, channels, *taps = weight.shape
    wide = np.zeros((k, *taps, padded_channels(channels, count)), weight.dtype)
    wide[..., :channels] = weight.transpose(0, 2, 3, 1)
    return wide.reshape(k, wide[0].size)


def padded_channels(channels: int, count: int) -> int:
    """Input channels with those that fill units up."""
    return blocks_of(channels, unit_columns(count)) * unit_columns(count)


class BalancedConvKernel:
    """y = activation(conv(x, weight) + bias + residual), channels_last; any stride, dilation and padding, one group.
    Maps are float32 where `options.maps` does not make them bytes.

    weight is a Balanced of `conv_matrix`; of float32 with float32 activations, of int8 or codes with a scale a row and
    activations in 8 bits: `options.scale` is theirs, beyond 127 times which x is cut off; 0: the largest |x| of each
    image over 127. Where a number of x is not finite, all of y is NaN (in 8 bits; of that image where scales are the
    images'). An input of bytes has its own scale, and nothing is quantized. A kernel may be called from several threads
    at once. KernelError for a shape, an option or an array that does not fit.
    """

    def __init__(
        self,
        shape: ConvShape,
        weight: Balanced,
        bias: np.ndarray | None = None,
        *,
        epilogue: Epilogue = PLAIN,
        options: LinearOptions = DEFAULT,
    ) -> None:
        _check(shape, weight, options)
        if bias is not None:
            check_array("bias", bias, (shape.out_channels,))
        self.shape, self.epilogue, self.options = shape, epilogue, options
        self.name, self.packed_bytes = form_of(weight).name, weight.nbytes
        self._by_image = weight.kind != "float32" and options.input_scale == 0
        alone = replace(shape, batch=min(1, shape.batch)) if self._by_image else shape
        self._runnable = _runnable(_Plan(alone, weight, epilogue, options), bias)

    def __call__(
        self, x: np.ndarray, residual: np.ndarray | None = None, *, out: np.ndarray | None = None
    ) -> np.ndarray:
        """The layer on dense arrays (batch, height, width, channels), into `out`, which overlaps no other."""
        maps = self.options.maps
        check_array("x", x, self.shape.input_shape, dtype_of(maps.takes))
        if (residual is None) == self.epilogue.residual:
            raise KernelError("a residual is needed exactly where the epilogue adds one")
        out = room(self.shape.output_shape, maps.gives) if out is None else out
        check_array("out", out, self.shape.output_shape, dtype_of(maps.gives))
        for other in (x, residual):
            if not out.flags.writeable or (other is not None and np.may_share_memory(out, other)):
                raise KernelError("out must be writable and apart from x and the residual")
        if residual is not None:
            check_array("residual", residual, self.shape.output_shape, dtype_of(maps.adds))
        self.run(x.ctypes.data, out.ctypes.data, 0 if residual is None else residual.ctypes.data)
        return out

    def run(self, source: int, target: int, residual: int = 0) -> None:
        """The layer on memory at these addresses, unchecked: dense; `target` overlaps neither of the others."""
        if not self._by_image:
            self._runnable.run(source, target, residual)
            return
        read, written = (prod(sizes[1:]) for sizes in (self.shape.input_shape, self.shape.output_shape))
        for image in range(self.shape.batch):
            at = source + 4 * read * image
            scaled = _scaled(self._runnable, _image_scale(_floats(at, read)))
            to, other = (bytes_of(one) * written * image for one in (self.options.maps.gives, self.options.maps.adds))
            scaled.run(at, target + to, residual and residual + other)


def _floats(address: int, count: int) -> Float32[np.ndarray, " count"]:
    """What lies in memory there."""
    return np.ctypeslib.as_array((ctypes.c_float * count).from_address(address))


def _image_scale(x: Float32[np.ndarray, ...]) -> np.float32:
    """The largest |x| over 127. 0 where that is hardly a number: all codes are 0; 1 where a number is not finite, which
    the code itself sees."""
    largest = np.maximum(x.max(initial=0), -x.min(initial=0))
    scale = np.float32(largest / np.float32(LARGEST))
    if not np.isfinite(scale):
        return np.float32(1)
    return scale if scale >= LEAST_SCALE else np.float32(0)


def _scaled(runnable: Runnable, scale: np.float32) -> Runnable:
    """The same with this scale of activations."""
    record = type(runnable.layer)(*runnable.layer)
    record[BALANCED.names.index("given")] = float_bits(float(scale))
    record[BALANCED.names.index("inverse")] = float_bits(float(np.float32(1) / scale) if scale else 0.0)
    return replace(runnable, layer=record)


def balanced_convolve(
    shape: ConvShape, x: Shaped[np.ndarray, "n h w c"], weight: Balanced, scale: float = 0.0
) -> Shaped[np.ndarray, "n ho wo k"]:
    """The definition without bias: in float64 for float32 weights; else exact integer sums times the row's scale times
    the activations' (0: that of each image), in float32 and this order, which kernels equal bit for bit. x may be codes
    already, uint8 or int8."""
    if x.dtype != np.float32:
        exact = convolve(shape, x.astype(np.float64), _kernel_of(shape, weight.integers()))
        return exact.astype(np.float32) * row_scales(weight) * np.float32(scale)
    if weight.kind == "float32":
        return convolve(shape, x, _kernel_of(shape, weight.to_dense()))
    if scale == 0:
        one, images = replace(shape, batch=1), np.split(x, max(1, len(x)))
        found = [balanced_convolve(one, image, weight, float(_image_scale(image)) or 1.0) for image in images if len(x)]
        return np.concatenate(found) if found else np.zeros(shape.output_shape, np.float32)
    codes, _ = quantized(x.reshape(1, x.size), scale)
    exact = convolve(shape, codes.reshape(x.shape).astype(np.float64), _kernel_of(shape, weight.integers()))
    found = exact.astype(np.float32) * row_scales(weight) * np.float32(scale)
    return found if np.isfinite(x).all() else np.full_like(found, np.nan)


def _kernel_of(shape: ConvShape, matrix: np.ndarray) -> np.ndarray:
    """`conv_matrix` the other way."""
    wide = matrix.reshape(shape.out_channels, *shape.taps, -1)[..., : shape.in_channels]
    return wide.transpose(0, 3, 1, 2).astype(np.float64)


@dataclass(frozen=True)
class _Plan:
    """How a layer is cut up."""

    shape: ConvShape
    weight: Balanced
    epilogue: Epilogue
    options: LinearOptions

    @property
    def linear(self) -> LinearPlan:
        """The layer as a linear one of so many columns."""
        form, target = form_of(self.weight), host_target(self.options.target)
        needed = target if form.kind == "float32" else byte_target(target)
        sizes = (0, self.weight.shape[1], self.shape.out_channels)
        table, maps = table_of(self.weight), self.options.maps
        return LinearPlan(sizes, form, self.epilogue, needed, self.options.threads, table, maps)

    @property
    def direct(self) -> bool:
        """Whether images of bytes are read where they are."""
        taken = self.options.maps.takes is not None and self.linear.offset == 0
        return taken and not any(self.shape.padding) and self.pixel_bytes == self.shape.in_channels

    @property
    def padded(self) -> Pair:
        """Rows and columns of a packed image."""
        top, bottom, left, right = self.shape.padding
        return self.shape.height + top + bottom, self.shape.width + left + right

    @property
    def pixel_bytes(self) -> int:
        """Of a packed image."""
        form = form_of(self.weight)
        return padded_channels(self.shape.in_channels, form.count) * form.input_bytes

    @property
    def tile(self) -> Pair:
        """Rows and columns of the tile of least cost; no larger than the output."""
        shape, most = self.shape, self.linear.form.most_tokens(self.linear.target)
        found = []
        for rows in range(1, min(most, shape.out_height) + 1):
            for columns in range(1, min(most // rows, shape.out_width) + 1):
                tiles = blocks_of(shape.out_height, rows) * blocks_of(shape.out_width, columns)
                found.append((tiles * (rows * columns + TILE_COST), rows, columns))
        return min(found)[1:]

    def inputs(self, rows: np.ndarray, columns: np.ndarray) -> Int64[np.ndarray, "rows columns"]:
        """Bytes in a packed image of pixels."""
        places = (rows[:, None] * self.padded[1] + columns) * self.pixel_bytes
        return places.astype(np.int64)


def _starts(size: int, tile: int) -> np.ndarray:
    """Where tiles begin along an axis; the last one ends with it."""
    return np.minimum(np.arange(blocks_of(size, tile)) * tile, size - tile)


def _runnable(plan: _Plan, bias: np.ndarray | None) -> Runnable:
    shape, linear, (high, wide) = plan.shape, plan.linear, plan.tile
    down, across = shape.stride
    pixels = plan.inputs(np.arange(high) * down, np.arange(wide) * across).ravel()
    tile = PixelTile(linear.target, linear.form, high * wide, tuple(pixels.tolist()))
    emitted, options = ConvCode(tile, high, plan.epilogue, linear.table, linear.maps, plan.direct), plan.options
    unit = CodeUnit("balanced", ("balanced_convolution",), emitted.made_from, lambda: balanced_module(emitted))
    code, weights = built(unit, linear.target), packed(plan.weight, bias, linear)
    rows, columns = _starts(shape.out_height, high), _starts(shape.out_width, wide)
    tile_inputs = plan.inputs(rows * down, columns * across).ravel()
    tile_outputs = ((rows[:, None] * shape.out_width + columns) * shape.out_channels).astype(np.int64).ravel()
    taps = plan.inputs(np.arange(shape.taps[0]) * shape.dilation[0], np.arange(shape.taps[1]) * shape.dilation[1])
    step = linear.form.columns * linear.form.input_bytes
    units = (taps.ravel()[:, None] + np.arange(plan.pixel_bytes // step) * step).ravel()
    numbers = _numbers(plan, len(tile_inputs))
    shift, scale, less = weights.by_row
    layer = BALANCED.pack(
        **numbers,
        units=len(units),
        tile_inputs=tile_inputs.ctypes.data,
        tile_outputs=tile_outputs.ctypes.data,
        unit_inputs=units.ctypes.data,
        weights=weights.records.ctypes.data,
        bias=shift.ctypes.data,
        scale=scale.ctypes.data,
        less=less.ctypes.data,
        slope=float_bits(plan.epilogue.slope),
        given=float_bits(options.input_scale),
        inverse=float_bits(float(np.float32(1) / np.float32(options.input_scale)) if options.input_scale else 0.0),
        out_inverse=float_bits(0.0 if options.maps.gives is None else float(options.maps.gives.inverse)),
        residual_scale=float_bits(0.0 if options.maps.adds is None else options.maps.adds.scale),
    )
    size = numbers["sums_offset"] + numbers["sums_bytes"] * plan.options.threads
    keep = (code, weights, tile_inputs, tile_outputs, units)
    function, pool_target = code.addresses["balanced_convolution"], host_target(linear.target.name)
    return Runnable(pool_target, function, layer, size, plan.options.threads, shape.batch == 0, keep)


def _numbers(plan: _Plan, tiles: int) -> dict[str, int]:
    """The record without addresses."""
    shape, linear, (rows, columns) = plan.shape, plan.linear, plan.padded
    block_bytes, tokens = plan.weight.stream.shape[1], plan.tile[0] * plan.tile[1]
    image = rows * columns * plan.pixel_bytes
    chunk = max(1, min(l2_bytes() // 2 // block_bytes, blocks_of(linear.blocks, plan.options.threads)))
    found = {"rows": shape.batch * rows, "image_rows": rows, "height": shape.height, "width": shape.width}
    found.update(top=shape.padding[0], left=shape.padding[2], right=shape.padding[3])
    found.update(row_bytes=columns * plan.pixel_bytes, pixel_bytes=plan.pixel_bytes, image_bytes=image)
    found.update(in_channels=shape.in_channels, columns=plan.pixel_bytes // linear.form.input_bytes)
    found.update(tiles=tiles, all_tiles=tiles * shape.batch, out_channels=shape.out_channels)
    out_row = shape.out_width * shape.out_channels
    found.update(out_image=shape.out_height * out_row, out_row=out_row)
    found.update(chunks=blocks_of(linear.blocks, chunk), chunk_blocks=chunk, blocks=linear.blocks)
    found.update(block_bytes=block_bytes, sums_offset=image * shape.batch)
    sums = blocks_of((4 * ROWS * span_blocks(tokens) + 4) * tokens, CACHE_LINE_BYTES) * CACHE_LINE_BYTES
    found.update(sums_bytes=sums)
    return found


def _check(shape: ConvShape, weight: Balanced, options: LinearOptions) -> None:
    if shape.groups != 1:
        raise KernelError(f"a balanced convolution has one group, not {shape.groups}")
    form = form_of(weight)
    check_maps(form.kind, options)
    wanted = shape.out_channels, shape.taps[0] * shape.taps[1] * padded_channels(shape.in_channels, form.count)
    if weight.shape != wanted or form.scaled:
        raise KernelError(
            f"the weight {weight.shape} is not {wanted} with a scale a row: make it with conv_matrix(weight, count)"
        )
    given = form.kind != "float32" and LEAST_SCALE <= options.scale < np.inf
    if options.threads < 1 or not (given or options.scale == 0):
        raise KernelError(
            f"threads={options.threads}, scale={options.scale}: at least one thread; activations in 8 bits have a "
            f"scale of at least {LEAST_SCALE:.0e} (the largest |x| over {LARGEST}) or 0, found at run time; those in "
            "float32 have none"
        )
    if form.kind != "float32" and products_of(weight) > MOST_PRODUCTS:
        raise KernelError(f"{products_of(weight)} products of bytes a row may leave int32: at most {MOST_PRODUCTS}")
