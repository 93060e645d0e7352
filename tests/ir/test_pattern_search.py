"""Patterns found in weights: every one that pruning makes, in every kind of layer, and none where there is none."""

import numpy as np
import pytest

from balanced_matrices import keep_largest, random_balanced
from secateur.ir.pattern import Pattern
from secateur.ir.pattern_search import SIZES, found_pattern, holds
from secateur.maths.balance import project

DRAW = np.random.default_rng(0)


def rows_with(pattern, rows=24, length=80):
    """Normal numbers of which the pattern's stay."""
    weight = DRAW.standard_normal((rows, length)).astype(np.float32)
    kept = project(np.abs(weight), pattern.m, pattern.kept(length), pattern.inner)
    return np.where(kept, weight, np.float32(0))


@pytest.mark.parametrize("length", [80, 84, 100, 33])
@pytest.mark.parametrize(
    "pattern", [Pattern(2, 4), Pattern(1, 4), Pattern(4, 16), Pattern(2, 16), Pattern(5, 32)], ids=str
)
def test_what_pruning_leaves_is_found(pattern, length):
    found = found_pattern(rows_with(pattern, length=length))
    assert found is not None
    assert found.pattern == pattern
    assert sum(found.counts) == 24 * len(pattern.sizes(length))
    assert found.mean == pytest.approx(sum(pattern.kept(length)) / len(pattern.sizes(length)))
    assert found.most == pattern.n


def test_the_pattern_that_leaves_least_is_told():
    """4:16 with at most 2 of 4 is 2:4 as well, and 2:4 is 8:16 as well."""
    both = found_pattern(rows_with(Pattern(4, 16, also="2:4")))
    assert both is not None
    assert both.pattern == Pattern(4, 16)
    two = found_pattern(rows_with(Pattern(2, 4)))
    assert two is not None
    assert two.pattern == Pattern(2, 4)


@pytest.mark.parametrize("taps", [(3, 3), (5,), (1, 1)])
def test_convolutions_along_their_input_channels(taps):
    count = int(np.prod(taps))
    weight = random_balanced(8 * count, 48, 4).reshape(8, *taps, 48)
    weight = np.moveaxis(weight, -1, 1)
    found = found_pattern(weight)
    assert found is not None
    assert found.pattern == Pattern(4, 16)
    other = found_pattern(np.swapaxes(weight, 0, 1), input_axis=0)
    assert other == found


def test_banks_run_along_the_whole_row():
    found = found_pattern(rows_with(Pattern(2, 16), 8, 45).reshape(8, 5, 3, 3))
    assert found is not None
    assert found.pattern == Pattern(2, 16, groups="banks")


def test_shorter_last_groups_leave_lanes_idle():
    found = found_pattern(rows_with(Pattern(4, 16), 10, 20))
    assert found is not None
    assert (found.counts, found.most, found.mean, found.entries) == ((0, 10, 0, 0, 10), 4, 2.5, 80)
    assert found.idle == pytest.approx(1 - 2.5 / 4)
    assert str(found) == "4:16, 2.50 of 4 a group, 38% of lanes idle"


@pytest.mark.parametrize(
    "weight",
    [
        np.ones((8, 64), np.float32),
        np.zeros((8, 64), np.float32),
        np.where(DRAW.random((64, 256)) < 0.1, 1, 0).astype(np.float32),
        np.where(DRAW.random((64, 256)) < 0.02, 1, 0).astype(np.float32),
        np.ones(64, np.float32),
        np.zeros((0, 64), np.float32),
        np.zeros((8, 0), np.float32),
        np.ones((8, 1, 3, 3), np.float32),
        np.ones((8, 3), np.float32),
        np.eye(3, dtype=np.float32),
    ],
    ids=lambda weight: str(weight.shape),
)
def test_no_pattern(weight):
    assert found_pattern(weight) is None


def test_one_weight_too_many_is_another_pattern():
    weight = rows_with(Pattern(4, 16))
    assert holds(Pattern(4, 16), weight)
    weight[3, :5] = 1
    assert not holds(Pattern(4, 16), weight)
    found = found_pattern(weight)
    assert found is None or found.pattern != Pattern(4, 16)


def test_groups_that_are_not_full_count_too():
    """At most four of sixteen, 3.6 on average."""
    weight = keep_largest(DRAW.standard_normal((32, 64)).astype(np.float32), 4)
    weight[weight != 0] *= DRAW.random(np.count_nonzero(weight)) < 0.9
    found = found_pattern(weight)
    assert found is not None
    assert (found.pattern, found.most) == (Pattern(4, 16), 4)
    assert 0.05 < found.idle < 0.15
    assert all(size in (4, 8, 16, 32) for size in SIZES)
