"""A linear layer as code and numbers: how tokens and rows are cut up, which tiles are needed, the layer's record."""

from __future__ import annotations

from dataclasses import dataclass

from secateur.ir.balanced_format import ROWS
from secateur.kernels.build import CodeUnit
from secateur.kernels.byte_maps import FLOATS, ByteMaps
from secateur.kernels.code import Module
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.fast import blocks_of
from secateur.kernels.linear_byte_tile import emit_byte_tile
from secateur.kernels.linear_bytes import offset
from secateur.kernels.linear_driver import emit_driver
from secateur.kernels.linear_form import Form
from secateur.kernels.linear_input import emit_float_input
from secateur.kernels.linear_output import Finish, emit_output
from secateur.kernels.linear_quantize import emit_byte_input, emit_code_input
from secateur.kernels.linear_tile import SPAN_BYTES, TOKEN_BYTES, LinearTile, emit_float_tile
from secateur.kernels.machine import l2_bytes
from secateur.kernels.target import Target

CACHE_LINE_BYTES = 64
Table = tuple[int, ...]


@dataclass(frozen=True)
class LinearPlan:
    """y = x W^T for so many tokens, by one form of W. target: as the form needs it (linear_bytes.byte_target)."""

    sizes: tuple[int, int, int]
    form: Form
    epilogue: Epilogue
    target: Target
    threads: int
    table: Table = ()
    maps: ByteMaps = FLOATS

    @property
    def offset(self) -> int:
        """Of activations in 8 bits as they are stored."""
        return offset(self.target, signed=self.maps.signed_input)

    @property
    def tiles(self) -> tuple[int, int, int]:
        """How many tiles, tokens of the long ones, how many are long; the others have a token less."""
        tokens = self.sizes[0]
        tiles = blocks_of(tokens, self.form.most_tokens(self.target))
        if not tiles:
            return 0, 1, 0
        long = blocks_of(tokens, tiles)
        return tiles, long, tokens - tiles * (long - 1)

    @property
    def tile_tokens(self) -> tuple[int, ...]:
        """For how many tokens there must be tiles."""
        tiles, long, count = self.tiles
        return (long,) if count == tiles else (long - 1, long)

    @property
    def blocks(self) -> int:
        """Of rows."""
        return blocks_of(self.sizes[2], self.form.block_rows(self.target))

    @property
    def units(self) -> int:
        """Of columns."""
        return blocks_of(self.sizes[1], self.form.columns)

    def tile(self, tokens: int) -> LinearTile:
        """The tile for so many tokens."""
        return LinearTile(self.target, self.form, tokens)

    def unit(self) -> CodeUnit:
        """The code."""
        finished = f"{self.epilogue.code_name} {self.maps.code_name}"
        made_from = f"{self.form} {self.table} {self.tile_tokens} {finished} {self.target.features}"
        return CodeUnit("linear", ("linear",), made_from, lambda: linear_module(self))

    def numbers(self) -> dict[str, int]:
        """The record without addresses, slope and scale. A chunk of rows fills the second-level cache with a tile."""
        (tokens, inputs, outputs), (tiles, long, count) = self.sizes, self.tiles
        form, units, blocks = self.form, self.units, self.blocks
        unit_bytes, block_rows = form.unit_bytes(self.target), form.block_rows(self.target)
        unit_token = form.input_bytes * form.columns
        left = l2_bytes() * 3 // 4 - units * unit_token * long
        chunk = max(1, min(max(left, l2_bytes() // 8) // (units * unit_bytes), blocks_of(blocks, self.threads)))
        scales = _lines(units * unit_token * tokens)
        found = {"tokens": tokens, "inputs": inputs, "outputs": outputs, "columns": units * form.columns}
        found.update(tiles=tiles, long_tiles=count, long_tokens=long, short_tokens=long - 1)
        found.update(blocks=blocks, block_rows=block_rows, chunk_blocks=chunk, chunks=blocks_of(blocks, chunk))
        found.update(units=units, block_bytes=units * unit_bytes)
        found.update(token_bytes=units * unit_token, step_token_bytes=TOKEN_BYTES)
        found.update(scales_offset=scales, sums_offset=scales + _lines(4 * tokens))
        span = min(chunk, max(1, SPAN_BYTES // (4 * block_rows * long)))
        found.update(span_blocks=span, sums_bytes=_lines(span * block_rows * 4 * long))
        found.update(scale_block_bytes=2 * ROWS * units if form.scaled else 0)
        return found


def _lines(size_bytes: int) -> int:
    return blocks_of(size_bytes, CACHE_LINE_BYTES) * CACHE_LINE_BYTES


def linear_module(plan: LinearPlan) -> str:
    """linear(layer, call, member, members)."""
    module, byte = Module(), plan.form.input_bytes == 1
    if plan.maps.takes is not None:
        emit_code_input(module, plan.target, signed=plan.maps.signed_input)
    else:
        (emit_byte_input if byte else emit_float_input)(module, plan.target)
    for tokens in plan.tile_tokens:
        if byte:
            emit_byte_tile(module, plan.tile(tokens), plan.table)
        else:
            emit_float_tile(module, plan.tile(tokens))
    emit_output(module, plan.target, Finish(plan.epilogue, plan.form, plan.maps))
    emit_driver(module, plan.target, plan.tile_tokens, byte=byte, maps=plan.maps)
    return module.text()
