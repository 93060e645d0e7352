"""maths.allocation: scores against their definitions, marginal costs against exhaustive search."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from secateur.maths.allocation import SCORES, erk, lamp, magnitude, marginal_costs, ranks, standardized

WEIGHTS = hnp.arrays(np.float64, (3, 4), elements=st.floats(-4, 4, width=16))


@given(WEIGHTS)
def test_every_score_orders_a_layer_by_magnitude(w):
    order = np.argsort(ranks(magnitude(w)), axis=None)
    for name, score in SCORES.items():
        ordered = score(w).ravel()[order]
        assert (np.diff(ordered) <= 1e-12).all(), name
        assert np.isfinite(ordered).all(), name


@pytest.mark.parametrize("value", [0.0, 4.0, -1e-30])
def test_equal_weights_have_equal_finite_scores(value):
    found = standardized(np.full((3, 4), value))
    assert np.isfinite(found).all()
    assert (found == found[0, 0]).all()


@given(WEIGHTS)
def test_lamp_is_what_its_paper_defines(w):
    """Equation 1, read off: sort ascending, divide each square by the sum of the squares from it on."""
    flat = w.ravel()
    order = np.argsort(ranks(magnitude(w)).ravel())[::-1]
    for position, index in enumerate(order):
        rest = float(np.sum(flat[order[position:]] ** 2))
        expected = flat[index] ** 2 / rest if flat[index] else 0.0
        assert lamp(w).ravel()[index] == pytest.approx(expected)


def test_erk_gives_densities_in_proportion_to_its_rule():
    generator = np.random.default_rng(0)
    layers = [generator.normal(size=shape) for shape in ((8, 4, 3, 3), (40, 20), (30, 100))]
    scores = [erk(w) for w in layers]
    cut = 2.5
    densities = [float((score >= cut).mean()) for score in scores]
    raw = [(8 + 4 + 3 + 3) / (8 * 4 * 9), (40 + 20) / 800, (30 + 100) / 3000]
    for density, share, w in zip(densities, raw, layers, strict=True):
        assert density == pytest.approx(share / cut, abs=1 / w.size)


def test_a_standardized_score_does_not_see_the_scale_of_a_layer():
    w = np.random.default_rng(1).normal(size=(5, 6))
    np.testing.assert_allclose(standardized(w), standardized(1e-3 * w))
    assert np.isfinite(standardized(np.zeros((2, 2)))).all()


def test_ranks_break_ties_by_index():
    assert ranks(np.array([[2.0, 3.0], [3.0, 2.0]])).tolist() == [[2, 0], [1, 3]]


def test_marginal_costs_fall_and_find_the_optimum_of_two_convex_curves():
    sizes = (6, 5)
    curves = [np.array([9.0, 5.0, 3.0, 1.8, 1.0, 0.4, 0.0]), np.array([4.0, 2.2, 1.2, 0.5, 0.2, 0.0])]
    costs = [marginal_costs(np.arange(size + 1.0), curve, size) for size, curve in zip(sizes, curves, strict=True)]
    for found, curve in zip(costs, curves, strict=True):
        assert (np.diff(found) < 0).all()
        np.testing.assert_allclose(found, -np.diff(curve), atol=1e-6)
    for keep in range(1, sum(sizes)):
        best = min((curves[0][a] + curves[1][keep - a], a) for a in range(7) if 0 <= keep - a <= 5)
        chosen = np.sort(np.concatenate(costs))[::-1][:keep]
        a = int((costs[0] >= chosen[-1]).sum())
        assert curves[0][a] + curves[1][keep - a] == pytest.approx(best[0])


@given(st.lists(st.floats(0, 10), min_size=3, max_size=7), st.integers(8, 40))
def test_marginal_costs_of_any_measured_curve_fall_strictly(changes, size):
    kept = np.linspace(0, size, len(changes) + 1)
    found = marginal_costs(kept, np.array([*changes, 0.0]), size)
    assert (found >= 0).all()
    assert all(later < earlier for earlier, later in itertools.pairwise(found))


def test_a_curve_that_is_not_monotone_is_no_reason_to_keep_more():
    """More weights that change the output more are noise: the cost never rises with what is kept."""
    bumpy = marginal_costs(np.array([0.0, 2.0, 4.0, 8.0]), np.array([1.0, 0.1, 0.5, 0.0]), 8)
    flat = marginal_costs(np.array([0.0, 2.0, 4.0, 8.0]), np.array([1.0, 0.1, 0.1, 0.0]), 8)
    np.testing.assert_array_equal(bumpy, flat)
