"""Positions coded as the zeros before each non-zero, a byte each: through zstd, or through an adaptive model.

A histogram of gaps sees what row and column contexts cannot: in a layer that reads images, non-zeros cluster, and a gap
of 0 (the pixel beside) or of about a row's width (the pixel below) is many times more likely than its neighbours.
"""

from __future__ import annotations

from math import prod

import numpy as np

from secateur.errors import ArtifactError
from secateur.ir.coding.contexts import is_for_masks
from secateur.ir.coding.range_coder import DECISIONS_A_US, Decoder, Encoder, Models, affordable
from secateur.ir.coding.squeeze import squeeze, unsqueeze
from secateur.ir.coding.varint import Bytes, Reader, varint

ESCAPE = 255  # a gap byte that says: 255 zeros, and the gap goes on
GAP_BITS = 8
MOST_GAPS = 200_000  # gap bytes, a microsecond or two of plain Python each


def encode_gaps(positions: np.ndarray, _shape: tuple[int, ...]) -> bytes:
    """How many escapes, and all gap bytes through zstd."""
    gaps = _gap_bytes(positions)
    return varint(gaps.size - positions.size) + squeeze(gaps.tobytes())


def decode_gaps(stream: Bytes, shape: tuple[int, ...], nonzeros: int) -> np.ndarray:
    """The positions, int64. ArtifactError where the gaps do not end inside the tensor."""
    reader, count = _announced(stream, shape, nonzeros)
    return _positions(np.frombuffer(unsqueeze(reader.rest(), count), dtype=np.uint8), shape, nonzeros)


def encode_adaptive_gaps(positions: np.ndarray, shape: tuple[int, ...]) -> bytes | None:
    """How many escapes, and all gap bytes as symbols of one adaptive tree; None where there are too many, or where
    their histogram says no more than their number."""
    gaps = _gap_bytes(positions)
    if gaps.size > MOST_GAPS or (is_for_masks(prod(shape), positions.size) and _is_geometric(gaps, prod(shape))):
        return None
    encoder = Encoder()
    encoder.symbols(Models(1 << GAP_BITS), GAP_BITS, gaps.tolist())
    coded = encoder.finish()
    return (
        varint(gaps.size - positions.size) + coded
        if affordable(gaps.size * GAP_BITS // DECISIONS_A_US, len(coded))
        else None
    )


def decode_adaptive_gaps(stream: Bytes, shape: tuple[int, ...], nonzeros: int) -> np.ndarray:
    """The positions, int64. ArtifactError on any stream that `encode_adaptive_gaps` does not write."""
    reader, count = _announced(stream, shape, nonzeros)
    if count > MOST_GAPS or not affordable(count * GAP_BITS // DECISIONS_A_US, reader.left):
        raise ArtifactError(f"damaged artifact: {count} gaps are not coded with an adaptive model")
    decoder = Decoder(reader.rest())
    gaps = np.array(decoder.symbols(Models(1 << GAP_BITS), GAP_BITS, count), dtype=np.uint8)
    decoder.finish()
    return _positions(gaps, shape, nonzeros)


def _gap_bytes(positions: np.ndarray) -> np.ndarray:
    gaps = np.diff(positions, prepend=-1) - 1
    runs = gaps // ESCAPE
    found = np.full(positions.size + int(runs.sum()), ESCAPE, dtype=np.uint8)
    found[np.cumsum(runs + 1) - 1] = gaps % ESCAPE
    return found


def _is_geometric(gaps: np.ndarray, size: int) -> bool:
    """Whether gaps cost what those of even non-zeros would, but for one per cent."""
    shares = np.bincount(gaps)[np.unique(gaps)] / gaps.size
    density = gaps.size / size
    even = -(density * np.log2(density) + (1 - density) * np.log2(1 - density)) / density if density < 1 else 0.0
    return bool(-(shares * np.log2(shares)).sum() > 0.99 * even)


def _announced(stream: Bytes, shape: tuple[int, ...], nonzeros: int) -> tuple[Reader, int]:
    """The rest of the stream, and how many gap bytes it holds."""
    reader = Reader(stream)
    runs = reader.varint()
    if runs > prod(shape) // ESCAPE:
        raise ArtifactError("damaged artifact: gaps between non-zeros are longer than their tensor")
    return reader, nonzeros + runs


def _positions(gaps: np.ndarray, shape: tuple[int, ...], nonzeros: int) -> np.ndarray:
    ends = np.flatnonzero(gaps != ESCAPE)
    if ends.size != nonzeros or (gaps.size and ends[-1:] != gaps.size - 1):
        raise ArtifactError("damaged artifact: the gaps between non-zeros do not match their number")
    before = np.arange(nonzeros)
    positions = ESCAPE * (ends - before) + np.cumsum(gaps[ends], dtype=np.int64) + before
    if nonzeros and positions[-1] >= prod(shape):
        raise ArtifactError("damaged artifact: a position lies outside its tensor")
    return positions
