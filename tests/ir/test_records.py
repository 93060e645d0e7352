from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.errors import ArtifactError, GraphError
from secateur.ir.records import UnitGroup, restore_units


def group(*kept: bool) -> UnitGroup:
    return UnitGroup(len(kept), np.array(kept))


@given(st.data())
def test_scattering_what_was_cut_gives_the_tensor_with_dead_positions_zero(data: st.DataObject):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    sizes = data.draw(st.lists(st.integers(1, 4), min_size=2, max_size=2))
    repeats = data.draw(st.lists(st.integers(1, 3), min_size=2, max_size=2))
    groups = tuple(UnitGroup(size, rng.random(size) < 0.5) for size in sizes)
    masks = [np.repeat(unit.kept, repeat) for unit, repeat in zip(groups, repeats, strict=True)]
    whole = rng.standard_normal((masks[0].size, 2, masks[1].size)).astype(np.float32)
    cut = whole[masks[0]][:, :, masks[1]]
    axes = {"w": {0: (0, repeats[0]), 2: (1, repeats[1])}}
    restored = restore_units({"w": cut, "other": whole}, groups, axes)
    np.testing.assert_array_equal(restored["w"], whole * masks[0][:, None, None] * masks[1])
    assert restored["w"].dtype == np.float32
    assert restored["other"] is whole


def test_a_group_compares_by_what_it_keeps():
    assert group(True, False) == group(True, False)
    assert group(True, False) != group(False, True)
    assert group(True) != "group"
    assert len({group(True, False), group(True, False)}) == 1


@pytest.mark.parametrize("kept", [np.ones(3, bool), np.ones(2), np.ones((2, 1), bool)])
def test_a_mask_that_does_not_fit_is_refused(kept: np.ndarray):
    with pytest.raises(GraphError, match="a unit group of 2 units needs a bool mask"):
        UnitGroup(2, kept)


@pytest.mark.parametrize("record", [{2: (0, 1)}, {-1: (0, 1)}, {0: (1, 1)}, {0: (-1, 1)}, {0: (0, 0)}])
def test_a_record_that_names_what_is_not_there_is_refused(record: dict[int, tuple[int, int]]):
    with pytest.raises(ArtifactError, match="pack the model again"):
        restore_units({"w": np.ones((1, 1))}, (group(True, False),), {"w": record})


def test_a_tensor_from_another_pack_is_refused():
    with pytest.raises(ArtifactError, match="w holds 2 positions on axis 0, its unit group keeps 1"):
        restore_units({"w": np.ones(2)}, (group(True, False),), {"w": {0: (0, 1)}})
