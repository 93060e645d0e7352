"""maths.balance: the variance and its gradient by finite differences, the projection against brute force."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.ir.pattern import Pattern
from secateur.maths.balance import (
    balance,
    chance,
    group_counts,
    group_sizes,
    in_use,
    project,
    variance,
    variance_gradient,
)
from secateur.maths.threshold import gate


def test_counts_and_sizes_of_groups():
    h = np.arange(10.0).reshape(2, 5)
    np.testing.assert_array_equal(group_counts(h, 2), [[1, 5, 4], [11, 15, 9]])
    np.testing.assert_array_equal(group_sizes(5, 2), [2, 2, 1])


def test_with_groups_of_one_size_it_is_the_variance():
    counts = np.random.default_rng(0).random((5, 7))
    assert variance(counts, np.full(7, 16.0)) == pytest.approx(counts.var())


def test_groups_with_equal_shares_have_none_whatever_their_size():
    sizes = np.array([16.0, 16.0, 4.0])
    assert variance(np.tile(sizes / 4, (3, 1)), sizes) == 0
    assert variance(np.array([[4.0, 4.0, 2.0]]), sizes) > 0


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**16), length=st.integers(2, 21), m=st.integers(2, 8))
def test_the_gradient_equals_finite_differences(seed, length, m):
    rng = np.random.default_rng(seed)
    h, sizes, step = rng.random((3, length)), group_sizes(length, m), 1e-6
    counts = group_counts(h, m)
    found = variance_gradient(counts, sizes)
    for place in np.ndindex(*counts.shape):
        up, down = counts.copy(), counts.copy()
        up[place] += step
        down[place] -= step
        expected = (variance(up, sizes) - variance(down, sizes)) / (2 * step)
        assert found[place] == pytest.approx(expected, abs=1e-7)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**16), alpha=st.floats(0.2, 1.5), k=st.floats(5, 12))
def test_down_to_the_weight_it_is_the_slope_of_the_gate_times_that_of_its_count(seed, alpha, k):
    w, m, step = np.random.default_rng(seed).normal(size=(2, 11)), 4, 1e-6
    sizes = group_sizes(11, m)

    def value(weights):
        return variance(group_counts(gate(weights, alpha, k).h, m), sizes)

    toward = variance_gradient(group_counts(gate(w, alpha, k).h, m), sizes)
    found = np.repeat(toward, m, axis=1)[:, :11] * gate(w, alpha, k).edge / w
    for place in np.ndindex(*w.shape):
        up, down = w.copy(), w.copy()
        up[place] += step
        down[place] -= step
        assert found[place] == pytest.approx((value(up) - value(down)) / (2 * step), abs=1e-6)


def test_chance_is_the_variance_of_a_random_count():
    rng = np.random.default_rng(0)
    counts = (rng.random((200_000, 16)) < 4 / 16).sum(1)
    assert chance(4, 16) == pytest.approx(counts.var(), rel=0.02)


def best(row, m, kept, inner):
    """The largest sum of any mask that obeys, by trying all of them."""
    total = 0.0
    for group, start in enumerate(range(0, len(row), m)):
        size, found = min(m, len(row) - start), -np.inf
        for chosen in itertools.combinations(range(size), kept[group]):
            if inner and any(sum(c // inner[1] == q for c in chosen) > inner[0] for q in range(size)):
                continue
            found = max(found, sum(row[start + c] for c in chosen))
        total += found
    return total


CASES = [(Pattern(2, 4), 9), (Pattern(3, 8), 11), (Pattern(3, 8, "1:2"), 13), (Pattern(4, 8, "2:4"), 12),
         (Pattern(4, 16, "2:4"), 18), (Pattern(4, 16), 16), (Pattern(4, 12, "2:3"), 17)]  # fmt: skip


@pytest.mark.parametrize(("pattern", "length"), CASES, ids=str)
@pytest.mark.parametrize("drawn", ["random", "clustered", "ties"])
def test_no_mask_that_obeys_has_a_larger_sum(pattern, length, drawn):
    """Clustered: a greedy choice of the largest n, repaired afterwards, would lose. Values are whole, so exact."""
    rng = np.random.default_rng(length)
    m, kept, inner = pattern.m, pattern.kept(length), pattern.inner
    for _ in range(15):
        score = rng.integers(0, 1000, (1, length)).astype(float)
        if drawn == "clustered":
            score[:, : length // 3] += 1000
        if drawn == "ties":
            score = rng.integers(0, 3, (1, length)).astype(float)
        mask = project(score, m, kept, inner)
        counts = [int(mask[0, start : start + m].sum()) for start in range(0, length, m)]
        assert counts == list(kept)
        if inner:
            assert all(mask[0, start : start + inner[1]].sum() <= inner[0] for start in range(0, length, inner[1]))
        assert (score * mask).sum() == best(score[0], m, kept, inner)


def test_a_worse_mask_would_be_noticed():
    """A planted fault: the largest four, of which the second pair of a quad then goes without being replaced well."""
    score = np.array([[9.0, 8.0, 7.0, 6.0, 1.0, 1.0, 5.0, 1.0]])
    greedy_then_repaired = np.array([[1, 1, 0, 0, 1, 1, 0, 0]], bool)
    assert (score * greedy_then_repaired).sum() < best(score[0], 8, (4,), (2, 4))
    assert (score * project(score, 8, (4,), (2, 4))).sum() == best(score[0], 8, (4,), (2, 4))


def test_ties_go_to_the_first():
    np.testing.assert_array_equal(project(np.ones((1, 8)), 4, (2, 2)), [[1, 1, 0, 0, 1, 1, 0, 0]])
    np.testing.assert_array_equal(project(np.ones((1, 8)), 8, (4,), (1, 2)), [[1, 0, 1, 0, 1, 0, 1, 0]])


def test_balance():
    assert balance(np.full((3, 4), 2.0)) == 1.0
    assert balance(np.array([1.0, 3.0])) == pytest.approx(2 / 3)
    assert balance(np.zeros(4)) == 1.0


def test_what_is_in_use_falls_from_all_to_n():
    numbers = [in_use(2, 16, step / 100) for step in range(101)]
    assert (numbers[0], numbers[-1]) == (16, 2)
    assert numbers == sorted(numbers, reverse=True)
    assert numbers[50] == round(2 + 14 / 8)
