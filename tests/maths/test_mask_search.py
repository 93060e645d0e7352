"""maths.mask_search: exact where inputs are independent, near the best of all masks where they are not."""

import itertools

import numpy as np
import pytest

from secateur.maths import mask_search
from secateur.maths.least_squares import exact, squared_error
from secateur.maths.mask_search import cubic, searched_mask

M = 4
RIDGE = 1e-3


def largest(scores, done):
    """2 of every 4 at the end, 4 at the start."""
    stay = max(2, round(M - 2 * done))
    rows = scores.reshape(-1, M)
    mask = np.zeros(rows.shape, bool)
    np.put_along_axis(mask, np.argsort(-rows, axis=1, kind="stable")[:, :stay], True, axis=1)
    return mask.reshape(scores.shape)


def correlated(seed, outputs=6, inputs=8, samples=60):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(samples, 3)) @ generator.normal(size=(3, inputs))
    x += 0.3 * generator.normal(size=x.shape)
    dense = generator.normal(size=(outputs, inputs))
    return x.T @ x, dense @ (x.T @ x), dense


def error(gram, wanted, dense, mask):
    """Relative, of the best values under a mask."""
    w = exact(gram, wanted, dense * mask, mask, ridge=RIDGE)
    energy = float(np.sum(dense @ gram * dense))
    return squared_error(gram, wanted, energy, w) / energy


def best(gram, wanted, dense):
    """Of all masks, row by row."""
    pairs = [[place in chosen for place in range(M)] for chosen in itertools.combinations(range(M), 2)]
    masks = [np.array([*one, *other]) for one in pairs for other in pairs]
    rows = []
    for row in range(len(dense)):
        part = wanted[row : row + 1], dense[row : row + 1]
        rows.append(min(masks, key=lambda mask, part=part: error(gram, *part, mask[None])))
    return np.stack(rows)


def test_where_inputs_are_independent_it_is_weight_times_size_of_input():
    generator = np.random.default_rng(0)
    dense, sizes = generator.normal(size=(5, 12)), np.geomspace(0.2, 9, 12)
    gram = np.diag(sizes**2)
    found = searched_mask(gram, dense @ gram, dense, largest, ridge=RIDGE)
    assert (found == largest(np.abs(dense) * sizes, 1.0)).all()


def test_where_they_are_not_it_is_near_the_best_of_all_masks():
    """Over 12 layers; the size of a weight times its input is far off, and so is a search without its steps."""
    errors = {"search": 0.0, "size": 0.0, "best": 0.0}
    for seed in range(12):
        gram, wanted, dense = correlated(seed)
        found = searched_mask(gram, wanted, dense, largest, ridge=RIDGE)
        errors["search"] += error(gram, wanted, dense, found)
        errors["size"] += error(gram, wanted, dense, largest(np.abs(dense) * np.sqrt(np.diag(gram)), 1.0))
        errors["best"] += error(gram, wanted, dense, best(gram, wanted, dense))
    assert errors["best"] <= errors["search"] < 1.6 * errors["best"]
    assert errors["search"] < 0.85 * errors["size"]


def test_a_search_whose_multipliers_stay_behind_would_be_noticed(monkeypatch):
    """A planted fault: the penalty far too small, so that nothing ties the two."""
    monkeypatch.setattr(mask_search, "PENALTY", 1e-6)
    with pytest.raises(AssertionError):
        test_where_they_are_not_it_is_near_the_best_of_all_masks()


def test_the_mask_is_the_last_one_asked_for_and_an_input_that_is_never_there_harms_nothing():
    gram, wanted, dense = correlated(3)
    gram[2], gram[:, 2], wanted[:, 2] = 0, 0, 0
    asked = []

    def keep(scores, done):
        assert np.isfinite(scores).all()
        asked.append((done, largest(scores, done)))
        return asked[-1][1]

    found = searched_mask(gram, wanted, dense, keep, ridge=RIDGE)
    assert (found == asked[-1][1]).all()
    assert (found.reshape(-1, M).sum(1) == 2).all()
    assert [done for done, _ in asked] == [cubic(step / 20) for step in range(1, 21)]
    assert asked[-1][0] == 1


def test_the_way_begins_fast_and_ends_slowly():
    values = [cubic(done) for done in np.linspace(0, 1, 11)]
    steps = np.diff(values)
    assert values[0] == 0
    assert values[-1] == 1
    assert (np.diff(steps) < 0).all()


def literal(gram, wanted, start, ridge):
    """The same steps in units of the weights themselves, a row at a time, each a system of equations of its own."""
    size = np.diag(gram) + ridge  # of the penalty in these units
    kept = np.ones(start.shape, bool)
    w, lacking = start.copy(), np.zeros_like(start)
    for step in range(mask_search.STEPS):
        if step < mask_search.SHRINKING:
            kept = largest(np.abs(w + lacking) * np.sqrt(size), cubic((step + 1) / mask_search.SHRINKING))
        cut = np.where(kept, w + lacking, 0.0)
        lacking = lacking + w - cut
        system = gram + ridge * np.eye(len(gram)) + mask_search.PENALTY * np.diag(size)
        right = wanted + ridge * start + mask_search.PENALTY * size * (cut - lacking)
        w = np.stack([np.linalg.solve(system, row) for row in right])
    return kept


def test_the_steps_are_those_of_the_source_written_out():
    for seed in range(40):
        gram, wanted, dense = correlated(seed)
        start = dense[::-1]  # not what the outputs are wanted of, so that the ridge counts
        found = searched_mask(gram, wanted, start, largest, ridge=30.0)
        assert (found == literal(gram, wanted, start, 30.0)).all()
