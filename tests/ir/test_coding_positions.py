"""The smallest position code is taken, and every decoder refuses what its encoder does not write."""

from __future__ import annotations

import numpy as np
import pytest
from sample_artifacts import entropy_bytes, pruned

from secateur.errors import ArtifactError
from secateur.ir.coding.positions import POSITION_CODES, decode_positions, encode_positions, position_code
from secateur.ir.coding.squeeze import squeeze
from secateur.ir.coding.varint import varint

CODES = [code.name for code in POSITION_CODES]


def frame(name: str, nonzeros: int, stream: bytes) -> bytes:
    return bytes([CODES.index(name)]) + varint(nonzeros) + stream


@pytest.mark.parametrize(
    ("mask", "code"),
    [
        (np.zeros((30, 30), dtype=np.bool_), "all"),
        (np.ones((30, 30), dtype=np.bool_), "all"),
        (np.zeros((0, 3), dtype=np.bool_), "all"),
        (pruned(20, 30, 100), "contexts"),
        (pruned(100, 100, 300), "clusters"),
        (pruned(1000, 1000, 220_000, even=True), "mask"),
        (np.arange(4_000_000).reshape(2000, 2000) % 19 == 0, "gaps"),
    ],
)
def test_the_smallest_code_is_taken(mask: np.ndarray, code: str):
    positions = np.flatnonzero(mask)
    stream = encode_positions(positions, mask.shape)
    assert position_code(stream) == code
    assert np.array_equal(decode_positions(stream, mask.shape), positions)


def test_the_order_of_codes_is_part_of_the_format():
    assert CODES == ["all", "contexts", "gaps", "mask", "adaptive_gaps", "clusters"]


def test_large_even_masks_cost_about_their_entropy():
    mask = np.random.default_rng(0).random((1000, 2000)) < 0.12
    assert len(encode_positions(np.flatnonzero(mask), mask.shape)) < 1.05 * entropy_bytes(mask)


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (b"", "announced where 0 are left"),
        (bytes([99, 0]), "no position code 99"),
        (frame("all", 3, b""), "all positions or none"),
        (frame("all", 0, b"x"), "all positions or none"),
        (frame("all", 101, b""), "101 non-zeros are announced"),
        (frame("gaps", 2, varint(0) + squeeze(b"\x01\xff")), "do not match"),
        (frame("gaps", 2, varint(0) + squeeze(b"\x60\x05")), "outside"),
        (frame("gaps", 2, varint(1) + squeeze(b"\x01\x01\x01")), "longer than their tensor"),
        (frame("gaps", 2, varint(0) + squeeze(b"\x01")), "where 2 belong"),
        (frame("mask", 2, squeeze(b"\x07" + bytes(12))), "more than the 2"),
        (frame("mask", 2, squeeze(b"\x01" + bytes(12))), "1 positions where 2"),
        (frame("mask", 2, squeeze(bytes(12) + b"\x30")), "outside"),
        (frame("mask", 2, squeeze(b"\x03")), "where 13 belong"),
        (frame("contexts", 2, b""), "early|outside|leaves"),
    ],
)
def test_hostile_streams_are_refused(stream: bytes, message: str):
    with pytest.raises(ArtifactError, match=message):
        decode_positions(stream, (10, 10))
