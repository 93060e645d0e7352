"""maths.least_squares: conjugate gradients against the closed form, and never worse than the start."""

import numpy as np
import pytest

from secateur.maths.least_squares import exact, masked_least_squares, squared_error


def problem(seed, outputs=4, inputs=9, samples=40, kept=0.5):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(samples, inputs)) * np.geomspace(0.1, 10, inputs)
    dense = generator.normal(size=(outputs, inputs))
    mask = generator.random((outputs, inputs)) < kept
    targets = x @ dense.T
    return x, targets, x.T @ x, targets.T @ x, dense * mask, mask


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("samples", [3, 40])
def test_it_is_the_closed_form(seed, samples):
    _, _, gram, wanted, start, mask = problem(seed, samples=samples)
    ridge = 0.01 * np.diag(gram).mean()
    np.testing.assert_allclose(
        masked_least_squares(gram, wanted, start, mask, ridge=ridge),
        exact(gram, wanted, start, mask, ridge=ridge),
        rtol=1e-4,
        atol=1e-6,
    )


def test_the_closed_form_has_no_gradient_left():
    x, targets, gram, wanted, start, mask = problem(1)
    w = exact(gram, wanted, start, mask, ridge=0.3)
    gradient = (x @ w.T - targets).T @ x + 0.3 * (w - start)
    assert np.abs(gradient[mask]).max() < 1e-8
    assert not w[~mask].any()


@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_every_step_lowers_the_error_and_touches_no_cut_weight(steps):
    x, targets, gram, wanted, start, mask = problem(2)
    energy = float(np.square(targets).sum())
    fewer = masked_least_squares(gram, wanted, start, mask, ridge=0.1, steps=max(0, steps - 1))
    w = masked_least_squares(gram, wanted, start, mask, ridge=0.1, steps=steps)
    assert not w[~mask].any()
    assert squared_error(gram, wanted, energy, w) <= squared_error(gram, wanted, energy, fewer)
    assert squared_error(gram, wanted, energy, w) == pytest.approx(float(np.square(x @ w.T - targets).sum()))


def test_rows_that_keep_nothing_or_everything():
    _, _, gram, wanted, start, mask = problem(3)
    mask[0], mask[1] = False, True
    dense = np.linalg.solve(gram, wanted.T).T
    start = np.where(mask, dense, 0.0)
    w = masked_least_squares(gram, wanted, start, mask, ridge=0.1)
    assert not w[0].any()
    np.testing.assert_allclose(w[1], dense[1], rtol=1e-9)


def test_inputs_that_are_never_there_leave_their_weights_alone():
    _, _, gram, wanted, start, mask = problem(4)
    gram[2], gram[:, 2], wanted[:, 2], mask[:, 2] = 0, 0, 0, True
    start[:, 2] = 0.7
    assert (masked_least_squares(gram, wanted, start, mask, ridge=0.1)[:, 2] == 0.7).all()
