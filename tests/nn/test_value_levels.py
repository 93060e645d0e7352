"""nn.value_levels: the fused operators against the numpy definition, finite differences and torch's operator checks."""

import numpy as np
import pytest
import torch

from secateur.maths.value_grid import WARMEST, value_average
from secateur.nn import pieces
from secateur.nn.value_levels import weighted_values
from weight_shapes import LARGE, SHAPES

WIDTHS = [[4], [2], [2, 3, 4, 6], list(range(2, 9))]
TAU = 0.7


def draw(shape, range_shape, widths, dtype=torch.float64):
    random = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=random, dtype=torch.float64)
    x = torch.where(torch.rand(shape, generator=random) < 0.7, x, 0.0).to(dtype).requires_grad_()
    x_max = (torch.rand(range_shape, generator=random, dtype=torch.float64) + 0.8).to(dtype).requires_grad_()
    theta = torch.randn(len(widths), generator=random, dtype=torch.float64).to(dtype).requires_grad_()
    return x, x_max, theta, torch.randn(shape, generator=random, dtype=torch.float64).to(dtype)


def run(x, x_max, theta, widths, temperature=0.2):
    return weighted_values(x, x_max, torch.softmax(theta / TAU, 0), torch.tensor(temperature), widths)


def reduced(gradient, like):
    return gradient.sum(axis=tuple(a for a, extent in enumerate(like.shape) if extent == 1), keepdims=True)


@pytest.mark.parametrize("widths", WIDTHS, ids=str)
@pytest.mark.parametrize(("shape", "range_shape"), SHAPES + LARGE)
def test_forward_and_backward_equal_the_definition(shape, range_shape, widths):
    x, x_max, theta, upstream = draw(shape, range_shape, widths)
    result = run(x, x_max, theta, widths)
    (result * upstream).sum().backward()
    plain, end, angles = (t.detach().numpy() for t in (x, x_max, theta))
    # The temperature as the operator gets it: a float32.
    expected, g = value_average(plain, end, (angles, TAU), widths, float(torch.tensor(0.2))), upstream.numpy()
    np.testing.assert_allclose(result.detach(), expected.value, atol=1e-8)
    np.testing.assert_allclose(x.grad, g * expected.dx, atol=1e-6)
    np.testing.assert_allclose(x_max.grad, reduced(g * expected.dx_max, x_max), atol=1e-6 * (1 + np.abs(g).sum()))
    dtheta = (g * expected.dtheta).reshape(len(widths), -1).sum(1)
    np.testing.assert_allclose(theta.grad, dtheta, atol=1e-7 * (1 + np.abs(g).sum()))


@pytest.mark.parametrize("temperature", [WARMEST, 0.05, 1e-4])
def test_four_values_are_enough_at_every_temperature(temperature):
    x, x_max, theta, _ = draw((40, 30), (1, 1), [3, 5])
    plain, end, angles = (t.detach().numpy() for t in (x, x_max, theta))
    expected = value_average(plain, end, (angles, TAU), [3, 5], temperature).value
    off = np.abs(run(x, x_max, theta, [3, 5], temperature).detach().numpy() - expected)
    assert off.max() < 3e-3 * end / 3


def test_gradients_are_exact():
    """No part of them is straight-through."""
    x, x_max, theta, _ = draw((6, 5), (6, 1), [2, 3, 5])
    x.data = torch.where(x == 0, 0.3, x.data)
    assert torch.autograd.gradcheck(lambda *t: run(*t, [2, 3, 5], 0.25), (x, x_max, theta), atol=1e-4)


def test_generated_code_and_torch_agree(monkeypatch):
    found = []
    for own in (True, False):
        x, x_max, theta, upstream = draw((37, 50), (37, 1), [2, 3, 8], torch.float32)
        if not own:
            monkeypatch.setattr("secateur.nn.value_levels.value_levels_for", lambda *_: None)
        result = run(x, x_max, theta, [2, 3, 8])
        (result * upstream).sum().backward()
        found.append((result, x.grad, x_max.grad, theta.grad))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_operator_check_and_compilation_without_a_break():
    x, x_max, theta, _ = draw((6, 4), (1, 1), [2, 4])
    arguments = (x, x_max, torch.softmax(theta, 0).detach().requires_grad_(), torch.tensor(0.2), [2, 4])
    torch.library.opcheck(torch.ops.secateur.weighted_values.default, arguments)
    compiled = torch.compile(lambda *t: weighted_values(*t, [2, 4]), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(*arguments[:4]), weighted_values(*arguments))


def test_pieces_do_not_change_the_result(monkeypatch):
    results = []
    for piece in (pieces.PIECE, 7):
        monkeypatch.setattr(pieces, "PIECE", piece)
        x, x_max, theta, upstream = draw((40, 30), (40, 1), [2, 3, 8])
        result = run(x, x_max, theta, [2, 3, 8])
        (result * upstream).sum().backward()
        results.append((result, x.grad, x_max.grad, theta.grad))
    for whole, cut in zip(*results, strict=True):
        torch.testing.assert_close(cut, whole, rtol=1e-12, atol=1e-12)


def test_a_planted_fault_is_seen():
    x, x_max, theta, _ = draw((7, 5), (1, 1), [2, 4])
    plain, end, angles = (t.detach().numpy() for t in (x, x_max, theta))
    expected = value_average(plain, end, (angles, TAU), [2, 4], 0.2).value
    assert not np.allclose(run(x, x_max * 1.01, theta, [2, 4]).detach(), expected, atol=1e-6)
