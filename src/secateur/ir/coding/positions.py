"""Which elements of a tensor are non-zero, in bytes: a closed table of codes, of which the smallest is kept.

A stream says its code, the number of non-zeros, and then what the code needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from secateur.errors import ArtifactError
from secateur.ir.coding.closed_table import row_of, smallest
from secateur.ir.coding.clusters import decode_clusters, encode_clusters
from secateur.ir.coding.contexts import decode_contexts, encode_contexts
from secateur.ir.coding.gaps import decode_adaptive_gaps, decode_gaps, encode_adaptive_gaps, encode_gaps
from secateur.ir.coding.squeeze import squeeze, unsqueeze
from secateur.ir.coding.varint import Bytes, varint

if TYPE_CHECKING:
    from jaxtyping import Int64

ROWS = "position code"
BLOCK_BYTES = 1 << 20  # of a mask, unpacked at a time


@dataclass(frozen=True)
class PositionCode:
    """encode(positions, shape) -> bytes, or None where the code does not apply; decode(bytes, shape, nonzeros)."""

    name: str
    encode: Callable[[np.ndarray, tuple[int, ...]], bytes | None]
    decode: Callable[[Bytes, tuple[int, ...], int], np.ndarray]


def encode_positions(positions: Int64[np.ndarray, " nonzeros"], shape: tuple[int, ...]) -> bytes:
    """The smallest stream for strictly increasing flat indices into a tensor of this shape."""
    index, stream = smallest((index, code.encode(positions, shape)) for index, code in enumerate(POSITION_CODES))
    return index + varint(positions.size) + stream


def decode_positions(stream: Bytes, shape: tuple[int, ...]) -> Int64[np.ndarray, " nonzeros"]:
    """The positions, strictly increasing and inside the tensor; ArtifactError on any other stream."""
    code, reader = row_of(POSITION_CODES, stream, ROWS)
    nonzeros = reader.varint()
    if nonzeros > prod(shape):
        raise ArtifactError(f"damaged artifact: {nonzeros} non-zeros are announced for a tensor of shape {shape}")
    positions = code.decode(reader.rest(), shape, nonzeros)
    if positions.size != nonzeros:
        raise ArtifactError(f"damaged artifact: {positions.size} positions where {nonzeros} are announced")
    return positions


def announced_nonzeros(stream: Bytes) -> int:
    """How many non-zeros a stream claims to hold, before any is decoded."""
    return row_of(POSITION_CODES, stream, ROWS)[1].varint()


def position_code(stream: Bytes) -> str:
    """The name of the code a stream is in."""
    return row_of(POSITION_CODES, stream, ROWS)[0].name


def _encode_all(positions: np.ndarray, shape: tuple[int, ...]) -> bytes | None:
    return b"" if positions.size in (0, prod(shape)) else None


def _decode_all(stream: Bytes, shape: tuple[int, ...], nonzeros: int) -> np.ndarray:
    if stream or nonzeros not in (0, prod(shape)):
        raise ArtifactError("damaged artifact: all positions or none are announced, with others among them")
    return np.arange(nonzeros, dtype=np.int64)


def _encode_mask(positions: np.ndarray, shape: tuple[int, ...]) -> bytes:
    """One bit an element, lowest first, through zstd."""
    mask = np.zeros(prod(shape), dtype=np.bool_)
    mask[positions] = True
    return squeeze(np.packbits(mask, bitorder="little").tobytes())


def _decode_mask(stream: Bytes, shape: tuple[int, ...], nonzeros: int) -> np.ndarray:
    packed = np.frombuffer(unsqueeze(stream, (prod(shape) + 7) // 8), dtype=np.uint8)
    positions, found = np.empty(nonzeros, dtype=np.int64), 0
    for start in range(0, packed.size, BLOCK_BYTES):
        block = np.unpackbits(packed[start : start + BLOCK_BYTES], bitorder="little").view(np.bool_)
        inside = np.flatnonzero(block) + 8 * start
        if found + inside.size > nonzeros:
            raise ArtifactError(f"damaged artifact: a mask marks more than the {nonzeros} non-zeros announced")
        positions[found : found + inside.size] = inside
        found += inside.size
    if nonzeros and positions[found - 1] >= prod(shape):
        raise ArtifactError("damaged artifact: a position lies outside its tensor")
    return positions[:found]


# The index of a row is what files hold: rows are appended, never moved.
POSITION_CODES = (
    PositionCode("all", _encode_all, _decode_all),
    PositionCode("contexts", encode_contexts, decode_contexts),
    PositionCode("gaps", encode_gaps, decode_gaps),
    PositionCode("mask", _encode_mask, _decode_mask),
    PositionCode("adaptive_gaps", encode_adaptive_gaps, decode_adaptive_gaps),
    PositionCode("clusters", encode_clusters, decode_clusters),
)
