"""kernels.sparse_cut: what a cut makes of a layer, and which are tried."""

import pytest

from secateur.kernels import sparse_cut
from secateur.kernels.shape import ConvShape
from secateur.kernels.sparse_cut import VECTORS, Lanes, SparseCut, cuts, sparse_cycles
from secateur.kernels.target import TARGETS

SHAPE = ConvShape(1, 56, 56, 64, 64, (3, 3), padding=(1, 1, 1, 1))


def test_what_a_cut_makes_of_a_layer():
    lanes = Lanes(SHAPE, SparseCut((7, 14), (7, 2), 8), 16)
    assert (lanes.patches, lanes.groups, lanes.inputs) == ((8, 4), 2, (9, 16))
    assert lanes.plane_vectors == 144
    assert lanes.plane_bytes >= 144 * 64
    assert lanes.plane_bytes // 64 % 2 == 1
    assert (lanes.tiles, lanes.tile_vectors, lanes.blocks) == (7, 14, 8)
    assert lanes.tile_places[:3] == (0, 64, 16 * 64)


def test_a_stride_moves_whole_vectors():
    lanes = Lanes(ConvShape(1, 9, 9, 1, 1, (3, 3), (2, 2)), SparseCut((2, 2), (1, 2), 1), 8)
    assert lanes.inputs == (5, 5)
    assert lanes.tile_places == (0, 2 * 32)
    assert lanes.place(1, 0) == 2 * 5 * 32


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("size", [1, 7, 14, 56, 113])
def test_cuts_that_are_tried(name, size):
    shape = ConvShape(1, size, size, 24, 24, (3, 3), padding=(1, 1, 1, 1))
    found = cuts(shape, TARGETS[name], 500, 5)
    assert 1 <= len(found) <= 5
    assert len({cut.tile for cut in found}) == len(found)
    for cut in found:
        assert cut.patch[0] % cut.tile[0] == cut.patch[1] % cut.tile[1] == 0
        assert cut.tile[0] * cut.tile[1] <= VECTORS[TARGETS[name].lanes]
        assert 1 <= cut.channels <= 24
        assert cut.tile[::-1] not in {other.tile for other in found if other.patch == cut.patch[::-1] != cut.patch}
    costs = [sparse_cycles(Lanes(shape, cut, TARGETS[name].lanes), 500) for cut in found]
    assert costs == sorted(costs)


def test_more_non_zeros_cost_more():
    lanes = Lanes(SHAPE, SparseCut((7, 14), (7, 2), 8), 16)
    assert sparse_cycles(lanes, 4000) > 1.5 * sparse_cycles(lanes, 1000)


def test_planes_beyond_int32_are_no_cut(monkeypatch):
    monkeypatch.setattr(sparse_cut, "LARGEST_BYTES", 1000)
    assert cuts(SHAPE, TARGETS["avx512"], 500, 3) == []
