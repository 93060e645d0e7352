"""Scales come back for the shape they fit, in as few bytes as one number needs."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.errors import ArtifactError
from secateur.ir.coding.scales import SCALE_BYTES, decode_scales, encode_scales, is_plain
from secateur.ir.grid import Grid

SHAPE = (2, 300)
WIDE = np.linspace(0.1, 1, 300, dtype=np.float32)


@pytest.mark.parametrize(
    "grid",
    [
        Grid(4, np.array(0.1, np.float16)),
        Grid(4, np.array(0.1, np.float32)),
        Grid(4, np.array([0.1, 0], np.float16)),
        Grid(4, WIDE.astype(np.float16), axis=1),
        Grid(4, WIDE, axis=1),
    ],
)
def test_scales_come_back(grid: Grid):
    stream = encode_scales(grid)
    assert decode_scales(stream, 4, SHAPE, plain=is_plain(grid)) == grid
    if is_plain(grid):
        assert len(stream) == SCALE_BYTES


@pytest.mark.parametrize("stream", [b"", b"\x00\x01", b"\x00\x01\x02\x03\x04\x05", b"\x01\x00", b"\x06\x00", b"\x02"])
def test_hostile_scales_are_refused(stream: bytes):
    with pytest.raises(ArtifactError):
        decode_scales(stream, 4, SHAPE, plain=False)


def test_a_hostile_number_is_refused():
    for number in (np.nan, -1, np.inf):
        with pytest.raises(ArtifactError, match="finite"):
            decode_scales(np.array(number, "<f2").tobytes(), 4, SHAPE, plain=True)
