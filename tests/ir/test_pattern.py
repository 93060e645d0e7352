"""ir.pattern: n of every m, shorter last groups, and what is no pattern."""

import pytest

from secateur.errors import PlanError
from secateur.ir.pattern import GroupCounts, Pattern


def test_a_last_shorter_group_keeps_its_share_rounded_up():
    pattern = Pattern(4, 16)
    assert pattern.sizes(37) == (16, 16, 5)
    assert pattern.kept(37) == (4, 4, 2)
    assert pattern.kept_in(3 * 37, 37) == 3 * 10
    assert Pattern(2, 16).kept(16 + 1) == (2, 1), "no group is empty"
    assert pattern.kept(32) == (4, 4)


@pytest.mark.parametrize("length", range(1, 70))
@pytest.mark.parametrize(("n", "m"), [(1, 2), (2, 4), (4, 16), (2, 16), (7, 9), (1, 32)])
def test_groups_cover_the_row_and_none_is_fuller_than_a_whole_one(n, m, length):
    pattern = Pattern(n, m)
    sizes, kept = pattern.sizes(length), pattern.kept(length)
    assert sum(sizes) == length
    assert all(0 < k <= min(n, s) for k, s in zip(kept, sizes, strict=True))
    assert sum(kept) >= pattern.density * length
    assert pattern.cuts(length) == (sum(kept) < length)


@pytest.mark.parametrize("length", range(1, 40))
@pytest.mark.parametrize(("n", "m", "also"), [(4, 16, "2:4"), (3, 8, "2:4"), (2, 8, "1:4"), (6, 16, "3:8")])
def test_what_an_inner_pattern_allows_is_enough_for_every_group(n, m, also, length):
    pattern = Pattern(n, m, also)
    most, inner = pattern.inner
    for kept, size in zip(pattern.kept(length), pattern.sizes(length), strict=True):
        assert kept <= sum(min(most, min(inner, size - start)) for start in range(0, size, inner))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((4, 1), "m = 2 to 1024"),
        ((4, 1025), "m = 2 to 1024"),
        ((0, 4), "n = 1 to 3"),
        ((4, 4), "n = 1 to 3"),
        ((5, 4), "n = 1 to 3"),
        ((4, 16, "2of4"), "at most a in any b"),
        ((4, 16, 2), "at most a in any b"),
        ((4, 16, "4:4"), "at most a in any b"),
        ((4, 16, "2:5"), "have to divide 16"),
        ((4, 16, "2:16"), "have to divide 16"),
        ((9, 16, "2:4"), "2 of each have to allow 9"),
    ],
)
def test_what_is_no_pattern_says_why(arguments, words):
    with pytest.raises(PlanError, match=words):
        Pattern(*arguments)


def test_in_words():
    assert str(Pattern(4, 16)) == "4:16"
    assert str(Pattern(4, 16, "2:4", "banks")) == "4:16 (also 2:4) in banks"


def test_balance_is_mean_over_largest_count():
    counts = GroupCounts(before=(0, 2, 0, 2), after=(0, 0, 4))
    assert counts.balance_before == pytest.approx((1 + 1 + 3 + 3) / 4 / 3)
    assert counts.balance == 1.0
    assert GroupCounts((5,), ()).balance_before == GroupCounts((5,), ()).balance == 1.0


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (4, Pattern(4, 16, "2:4", "banks")),
        (8, Pattern(8, 16, "2:4", "banks")),
        (9, Pattern(9, 16, None, "banks")),
        (16, None),
    ],
)
def test_on_the_way_to_a_pattern_more_stay(n, expected):
    assert Pattern(4, 16, "2:4", "banks").keeping(n) == expected
