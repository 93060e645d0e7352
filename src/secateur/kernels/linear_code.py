"""A linear layer as code and numbers: how tokens and rows are cut up, which tiles are needed, the layer's record."""

from __future__ import annotations

from dataclasses import dataclass

from secateur.ir.balanced_format import GROUP, ROWS, unit_columns
from secateur.kernels.build import CodeUnit
from secateur.kernels.code import Module
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.fast import blocks_of
from secateur.kernels.linear_driver import emit_driver
from secateur.kernels.linear_input import emit_float_input
from secateur.kernels.linear_output import emit_output
from secateur.kernels.linear_tile import BalancedTile, emit_float_tile
from secateur.kernels.target import Target

FLOAT_TOKENS = {"avx512": 16, "avx2": 3, "neon": 4}
"""Tokens of a tile at most: their sums, records and what is looked up fit into the registers."""
TILE_BYTES = 24 << 10
"""Activations that a tile reads between two looks at its sums: of 32 kB that the first-level cache has."""
CHUNK_BYTES = 512 << 10
"""Records of a chunk of rows, which the second-level cache holds while tile after tile of tokens reads them."""
MOST_BLOCKS = 32
"""Blocks of a chunk: their sums lie in the workspace."""


@dataclass(frozen=True)
class LinearPlan:
    """One form of a layer: y = x W^T for so many tokens.

    count     n of n:16
    """

    tokens: int
    inputs: int
    outputs: int
    count: int
    epilogue: Epilogue
    target: Target
    threads: int

    @property
    def sizes(self) -> tuple[int, int, int]:
        """(tiles, tokens of the long ones, how many are long); the others have a token less."""
        tiles = blocks_of(self.tokens, FLOAT_TOKENS[self.target.name])
        if not tiles:
            return 0, 1, 0
        long = blocks_of(self.tokens, tiles)
        return tiles, long, self.tokens - tiles * (long - 1)

    @property
    def tile_tokens(self) -> tuple[int, ...]:
        """For how many tokens there must be tiles."""
        tiles, long, count = self.sizes
        return (long,) if count == tiles else (long - 1, long)

    def tile(self, tokens: int) -> BalancedTile:
        """The tile for so many tokens."""
        return BalancedTile(self.target, "float32", self.count, tokens)

    def unit(self) -> CodeUnit:
        """The code."""
        made_from = f"balanced {self.count} {self.tile_tokens} {self.epilogue.code_name}"
        return CodeUnit("linear", ("linear",), made_from, lambda: linear_module(self))

    def numbers(self) -> dict[str, int]:
        """The record without addresses, slope and scale."""
        tiles, long, count = self.sizes
        width = unit_columns(self.count)
        units, blocks = blocks_of(self.inputs, width), blocks_of(self.outputs, ROWS)
        unit_bytes = self.tile(1).unit_bytes
        unit_token, step = 4 * width, 4 * GROUP
        most = max(1, TILE_BYTES // (unit_token * long))
        chunk = max(1, min(CHUNK_BYTES // (units * unit_bytes), blocks_of(blocks, self.threads), MOST_BLOCKS))
        found = {"tokens": self.tokens, "inputs": self.inputs, "outputs": self.outputs, "columns": units * width}
        found.update(tiles=tiles, long_tiles=count, long_tokens=long, short_tokens=long - 1)
        found.update(blocks=blocks, block_rows=ROWS, chunk_blocks=chunk, chunks=blocks_of(blocks, chunk))
        found.update(units=units, chunk_units=blocks_of(units, blocks_of(units, most)))
        found.update(block_bytes=units * unit_bytes, unit_bytes=unit_bytes)
        found.update(token_bytes=units * unit_token, unit_token_bytes=unit_token, step_token_bytes=step)
        found.update(sums_offset=units * unit_token * self.tokens, sums_bytes=chunk * ROWS * 4 * long)
        return found


def linear_module(plan: LinearPlan) -> str:
    """linear(layer, call, member, members)."""
    module = Module()
    emit_float_input(module, plan.target)
    for tokens in plan.tile_tokens:
        emit_float_tile(module, plan.tile(tokens))
    emit_output(module, plan.target, plan.epilogue)
    emit_driver(module, plan.target, plan.tile_tokens)
    return module.text()
