"""kernels.sparse_weights: entries in their order, places of pixels, and the twin of the sum."""

import numpy as np
import pytest

from secateur.kernels.shape import ConvShape, convolve
from secateur.kernels.sparse_cut import Lanes, SparseCut
from secateur.kernels.sparse_weights import ENTRY_BYTES, packed_sparse, places, sparse_convolve, tile_starts

SHAPE = ConvShape(2, 5, 6, 4, 6, (3, 2), (1, 1), (1, 1, 0, 1), (1, 1), 2)
LANES = Lanes(SHAPE, SparseCut((5, 3), (1, 3), 3), 4)


def weight(density=0.4):
    draw = np.random.default_rng(0)
    found = draw.standard_normal(SHAPE.weight_shape).astype(np.float32)
    return np.where(draw.random(found.shape) < density, found, np.float32(0))


@pytest.mark.parametrize("density", [0.0, 0.4, 1.0])
def test_every_non_zero_has_an_entry_where_it_belongs(density):
    w = weight(density)
    packed = packed_sparse(w, LANES)
    assert len(packed.entries) == np.count_nonzero(w)
    assert len(packed.starts) == LANES.blocks * 6 + 1
    starts = packed.starts // ENTRY_BYTES
    assert (starts[0], starts[-1]) == (0, len(packed.entries))
    found = np.zeros_like(w)
    for block in range(LANES.blocks):
        for k in range(6):
            row = packed.entries[starts[block * 6 + k] : starts[block * 6 + k + 1]]
            assert (np.diff(row["place"]) > 0).all(), "by channel and tap"
            for place, value in row:
                channel, rest = divmod(int(place), LANES.plane_bytes)
                r, s = divmod(rest // 16, LANES.inputs[1])
                assert channel // 3 == block
                found[k, channel - k // 3 * 2, r, s] = value
    np.testing.assert_array_equal(found, w)


def test_nan_is_a_non_zero():
    w = weight(0.0)
    w[1, 1, 1, 1] = np.nan
    assert np.isnan(packed_sparse(w, LANES).entries["value"]).tolist() == [True]


def test_many_rows_are_sorted_like_few():
    shape = ConvShape(1, 1, 1, 70, 1000, (1, 1))
    lanes = Lanes(shape, SparseCut((1, 1), (1, 1), 1), 16)
    w = np.random.default_rng(0).standard_normal(shape.weight_shape).astype(np.float32)
    packed = packed_sparse(w, lanes)
    assert len(packed.starts) > 1 << 16
    np.testing.assert_array_equal(packed.entries["value"], w[:, :, 0, 0].T.ravel())


def test_places_cover_every_pixel_once():
    read, written = places(LANES)
    assert read.shape == (LANES.groups, LANES.plane_vectors, 4)
    inside = np.sort(written[written >= 0])
    np.testing.assert_array_equal(inside, np.arange(2 * 5 * 6) * 4 * 6)
    assert set(read[read >= 0] // 16) == set(range(2 * 5 * 6)), "every pixel of the input is read"


def test_tiles_begin_where_their_first_output_reads():
    assert tile_starts(LANES).tolist() == [LANES.place(row, 0) for row in range(5)]
    _, written = places(LANES)
    firsts = written[0, :: LANES.tile_vectors, 0] // (4 * 6)
    assert firsts.tolist() == [0, 6, 12, 18, 24]


def test_the_twin_is_the_sum():
    w, x = weight(), np.random.default_rng(1).standard_normal(SHAPE.input_shape).astype(np.float32)
    found = sparse_convolve(SHAPE, x, w)
    assert found.dtype == np.float32
    assert np.abs(found - convolve(SHAPE, x, w)).max() < 1e-6
    assert np.abs(found - convolve(SHAPE, x, 1.01 * w)).max() > 1e-3
