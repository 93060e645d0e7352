"""nn.levels: the fused operators against the numpy definition, finite differences and torch's own operator checks."""

import numpy as np
import pytest
import torch

from secateur.maths import grid
from secateur.nn import pieces
from secateur.nn.levels import weighted_levels
from weight_shapes import LARGE, SHAPES

WIDTHS = [[4], [2], [2, 3, 4, 6], [2, 8], list(range(2, 9))]
TAU = 0.7


def draw(shape, range_shape, widths, density=1.0):
    random = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=random, dtype=torch.float64)
    x = torch.where(torch.rand(shape, generator=random) < density, x, 0.0).requires_grad_()
    x_max = (torch.rand(range_shape, generator=random, dtype=torch.float64) + 0.8).requires_grad_()
    theta = torch.randn(len(widths), generator=random, dtype=torch.float64).requires_grad_()
    return x, x_max, theta, torch.randn(shape, generator=random, dtype=torch.float64)


def run(x, x_max, theta, widths):
    return weighted_levels(x, x_max, torch.softmax(theta / TAU, 0), widths)


def reduced(gradient, like):
    axes = tuple(axis for axis, extent in enumerate(like.shape) if extent == 1)
    return gradient.sum(axis=axes, keepdims=True)


@pytest.mark.parametrize("density", [1.0, 0.3, 0.05])
@pytest.mark.parametrize("widths", WIDTHS, ids=str)
@pytest.mark.parametrize(("shape", "range_shape"), SHAPES + LARGE)
def test_forward_and_backward_equal_the_definition(shape, range_shape, widths, density):
    x, x_max, theta, upstream = draw(shape, range_shape, widths, density)
    result = run(x, x_max, theta, widths)
    (result * upstream).sum().backward()
    plain = (t.detach().numpy() for t in (x, x_max, theta))
    expected, g = grid.average(*plain, TAU, widths), upstream.numpy()
    np.testing.assert_allclose(result.detach(), expected.value, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(x.grad, g * expected.dx, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(x_max.grad, reduced(g * expected.dx_max, x_max), rtol=1e-9, atol=1e-9)
    dtheta = (g * expected.dtheta).reshape(len(widths), -1).sum(1)
    np.testing.assert_allclose(theta.grad, dtheta, rtol=1e-8, atol=1e-8)


def test_the_gradient_of_the_shares_passes_gradcheck():
    """In x and x_max the operator is a staircase, whose derivatives are straight-through: those are not checked so."""
    x, x_max, theta, _ = draw((6, 5), (6, 1), [2, 3, 5])
    assert torch.autograd.gradcheck(lambda t: run(x.detach(), x_max.detach(), t, [2, 3, 5]), (theta,))


def test_operator_check():
    x, x_max, theta, _ = draw((6, 4), (1, 1), [2, 4])
    arguments = (x, x_max, torch.softmax(theta, 0).detach().requires_grad_(), [2, 4])
    torch.library.opcheck(torch.ops.secateur.weighted_levels.default, arguments)


@pytest.mark.parametrize("bits", range(2, 9))
def test_one_width_in_float32_is_code_times_scale_rounded_once(bits):
    """With the scale a float16 number, as in a file."""
    x = torch.randn(40, 30, generator=torch.Generator().manual_seed(bits)) * 0.1
    largest = grid.largest_code(bits)
    scale = torch.tensor(0.2 / largest).half().float()
    found = weighted_levels(x, (scale * largest).reshape(1, 1), torch.ones(1), [bits])
    codes = (found.double() / scale.double()).round()
    assert torch.equal(codes.float() * scale, found)
    assert codes.abs().min() >= 1
    assert codes.abs().max() == largest


def test_zeros_stay_plus_zero_and_survivors_survive():
    x = torch.tensor([[0.0, -0.0, 1e-30, -1e-30, 5.0, -5.0]])
    found = weighted_levels(x, torch.ones(1, 1), torch.tensor([0.5, 0.5]), [2, 4])
    assert found[0, :2].numpy().tobytes() == bytes(8)
    assert (found[0, 2:].sign() == x[0, 2:].sign()).all()
    assert found[0, 4:].tolist() == [1.0, -1.0]


def test_pieces_do_not_change_the_result(monkeypatch):
    widths = [2, 3, 8]
    results = []
    for piece in (pieces.PIECE, 7):
        monkeypatch.setattr(pieces, "PIECE", piece)
        x, x_max, theta, upstream = draw((40, 30), (40, 1), widths, density=0.4)
        result = run(x, x_max, theta, widths)
        (result * upstream).sum().backward()
        results.append((result, x.grad, x_max.grad, theta.grad))
    for whole, cut in zip(*results, strict=True):
        torch.testing.assert_close(cut, whole, rtol=1e-12, atol=1e-12)


def test_a_planted_fault_is_seen():
    """The oracle above must be able to fail: a range that is a little wider gives other values."""
    x, x_max, theta, _ = draw((7, 5), (1, 1), [2, 4])
    found = run(x, x_max * 1.001, theta, [2, 4]).detach()
    expected = grid.average(*(t.detach().numpy() for t in (x, x_max, theta)), TAU, [2, 4])
    assert not np.allclose(found, expected.value, rtol=1e-12, atol=1e-12)
