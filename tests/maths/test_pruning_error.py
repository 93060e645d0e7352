"""maths.pruning_error: exact removals against brute force, bisection and the published loop; allowances."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.errors import PlanError
from secateur.maths.pruning_error import ALLOWANCES, EMPTY, Removals, allowances, normal_error, pruning_error

VALUES = st.lists(st.sampled_from([-3.0, -1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 2.0, 7.0]), min_size=2, max_size=12)


def brute(w, allowance, cap=1.0):
    """Weights that go: the most over every threshold whose relative error is within the allowance."""
    best = 0
    for edge in np.unique(np.abs(w[w != 0])):
        gone = w[(np.abs(w) <= edge) & (w != 0)]
        zeros = gone.size + int((w == 0).sum())
        if pruning_error(gone) / w.std() <= allowance * (1 + 1e-12) and zeros <= math.floor(cap * w.size):
            best = max(best, gone.size)
    return best


def by_bisection(w, allowance):
    """What bisecting the threshold removes, as if the error grew with it."""
    low, high = 0.0, float(np.abs(w).max())
    for _ in range(60):
        middle = (low + high) / 2
        within = pruning_error(w[np.abs(w) < middle]) / w.std() <= allowance
        low, high = (middle, high) if within else (low, middle)
    return int(((np.abs(w) < low) & (w != 0)).sum())


def by_loop(w, allowance, t=3.0):
    """The published loop: prune with t standard deviations, and lower t while the error exceeds the allowance."""
    while pruning_error(w[np.abs(w) < t * w.std()]) / w.std() > allowance:
        t *= 0.999
    return int(((np.abs(w) < t * w.std()) & (w != 0)).sum())


@given(VALUES, st.floats(0.01, 3), st.floats(0.1, 1))
def test_the_largest_removal_is_exact(values, allowance, cap):
    w = np.array(values)
    if w.std() == 0:
        return
    removals = Removals.of(w, cap)
    if np.abs(removals.errors - allowance).min() < 1e-9:
        return
    assert removals.counts[removals.within(allowance)] == brute(w, allowance, cap)


@given(VALUES, st.floats(0.1, 1))
def test_a_threshold_removes_what_was_counted(values, cap):
    w = np.array(values)
    if w.std() == 0:
        return
    removals = Removals.of(w, cap)
    for index, count in enumerate(removals.counts):
        gone = w[(np.abs(w) < removals.threshold(index) * w.std()) & (w != 0)]
        assert gone.size == count
        assert pruning_error(gone) / w.std() == pytest.approx(removals.errors[index], rel=1e-9)


def test_bisection_and_the_loop_agree_on_a_normal_layer():
    w = np.random.default_rng(0).standard_normal(2000)
    removals = Removals.of(w, 1.0)
    allowance = normal_error(0.7, w.size)
    exact = removals.counts[removals.within(allowance)]
    assert abs(by_loop(w, allowance) - exact) <= 5
    assert abs(by_bisection(w, allowance) - exact) <= 20
    assert removals.threshold(removals.within(allowance)) == pytest.approx(0.7, abs=0.1)


def test_the_error_falls_after_an_earlier_prune_where_bisection_goes_wrong():
    w = np.random.default_rng(0).standard_normal(2000)
    w[np.abs(w) < np.abs(w).max() / 2 - 0.02] = 0  # the first middle of a bisection leaves a few below it
    removals = Removals.of(w, 1.0)
    assert removals.errors[1] > 2 * removals.errors[100]
    allowance = 1.1 * float(removals.errors[100])
    exact = removals.counts[removals.within(allowance)]
    assert exact >= 100
    assert by_bisection(w, allowance) == 0
    assert exact == brute(w, allowance)


def test_zeros_are_not_removed_and_count_towards_the_cap():
    assert pruning_error(np.array([0.0, 0.0, 3.0, 4.0])) == 2.5
    assert pruning_error(np.zeros(3)) == 0
    w = np.array([0.0, 0.0, 0.0, 0.1, 0.2, 1.0])
    assert list(Removals.of(w, 0.7).counts) == [0, 1]
    assert list(Removals.of(w, 0.3).counts) == [0]
    with pytest.raises(PlanError, match="all equal"):
        Removals.of(np.ones(4), 0.5)


def test_the_normal_error_is_that_of_normal_weights_and_grows():
    size = 200_000
    z = np.random.default_rng(1).standard_normal(size)
    for t in (0.005, 0.3, 1.0, 2.5):
        assert normal_error(t, size) == pytest.approx(pruning_error(z[np.abs(z) < t]), rel=0.05)
    grid = [normal_error(t, size) for t in np.geomspace(1e-6, 50, 400)]
    assert all(a < b for a, b in pairwise(grid))
    assert normal_error(EMPTY * 2, size) == pytest.approx(2 * normal_error(EMPTY, size))


@pytest.mark.parametrize("kind", ALLOWANCES)
def test_allowances_grow_with_c_and_with_the_computation(kind):
    macs, sizes = np.array([100.0, 900.0]), np.array([50.0, 50.0])
    low, high = (allowances(kind, c, macs, sizes, np.array([1.0, 1.0])) for c in (0.1, 0.2))
    assert (high > low).all()
    assert low[1] >= low[0]
    assert (low[1] > low[0]) is np.bool_(kind != "uniform")


def test_relative_loses_the_least_share_of_every_layers_energy_for_what_it_saves():
    """Against every other pair of thresholds that saves as many multiply-accumulates in two layers."""
    draw = np.random.default_rng(2)
    layers, macs = (draw.standard_normal(400), draw.standard_normal(4000)), np.array([4e5, 1e5])

    def cut(estimators):
        gone = [w[np.abs(w) < t * w.std()] for w, t in zip(layers, estimators, strict=True)]
        saved = sum(m * g.size / w.size for m, g, w in zip(macs, gone, layers, strict=True))
        return saved, sum(float((g**2).sum() / (w**2).sum()) for g, w in zip(gone, layers, strict=True))

    removals = [Removals.of(w, 1.0) for w in layers]
    allowed = allowances("relative", 0.04, macs, np.array([400.0, 4000.0]))
    taken = [r.threshold(r.within(float(most))) for r, most in zip(removals, allowed, strict=True)]
    assert taken[0] == pytest.approx(2 * taken[1], rel=0.15)  # sqrt(MACs) is twice the other one's
    saved, lost = cut(taken)
    rivals = [cut((t, s)) for t in np.linspace(0.05, 2.5, 40) for s in np.linspace(0.05, 2.5, 40)]
    assert all(harm > 0.97 * lost for gain, harm in rivals if gain >= saved)


def test_a_sensitive_layer_is_allowed_less():
    macs, sizes = np.array([100.0, 100.0]), np.array([50.0, 50.0])
    found = allowances("sensitivity", 0.1, macs, sizes, np.array([4.0, 1.0]))
    assert found[0] == pytest.approx(normal_error(0.1 * math.sqrt(2), 50))
    assert found[1] == pytest.approx(normal_error(0.2 * math.sqrt(2), 50))
