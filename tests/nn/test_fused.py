"""nn.fused: the fused operators against the numpy definition, finite differences and torch's own operator checks."""

import numpy as np
import pytest
import torch

from secateur.ir.rules import FORMS
from secateur.maths.threshold import gate
from secateur.nn import fused, pieces
from secateur.nn.fused import threshold_gate
from weight_shapes import LARGE, SHAPES


def draw(shape, threshold_shape, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    w = torch.randn(shape, generator=generator, dtype=dtype).requires_grad_()
    alpha = (torch.rand(threshold_shape, generator=generator, dtype=dtype) + 0.3).requires_grad_()
    k = (torch.rand(threshold_shape, generator=generator, dtype=dtype) + 6).requires_grad_()
    upstream = torch.randn(shape, generator=generator, dtype=dtype)
    return w, alpha, k, upstream


def expected_gradients(w, alpha, k, upstream, form, count_weight):
    """The chain rule on the numpy definition."""
    w, alpha, k, upstream = (t.detach().numpy() for t in (w, alpha, k, upstream))
    g = gate(w, alpha, k)
    pull = upstream * w + count_weight
    axes = tuple(i for i, n in enumerate(alpha.shape) if n == 1)
    reduce = lambda x: x.sum(axis=axes, keepdims=True)  # noqa: E731
    with np.errstate(invalid="ignore"):
        dh_dw = np.where(w == 0, 0, g.edge / w)
    through = upstream if form == "dense" else upstream * (g.h + g.edge)
    return through + count_weight * dh_dw, reduce(-pull * g.edge / alpha), reduce(pull * g.dh_dk)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("shape", "threshold_shape"), SHAPES + LARGE)
def test_forward_and_backward_equal_the_definition(shape, threshold_shape, form):
    w, alpha, k, upstream = draw(shape, threshold_shape)
    pruned, count = threshold_gate(w, alpha, k, form)
    g = gate(w.detach().numpy(), alpha.detach().numpy(), k.detach().numpy())
    kept = (w.abs() > alpha).double().detach().numpy() if form == "straight_through" else g.h
    np.testing.assert_allclose(pruned.detach(), w.detach().numpy() * kept, atol=1e-12)
    np.testing.assert_allclose(count.detach(), kept.sum(), rtol=1e-10)
    ((pruned * upstream).sum() + 0.3 * count).backward()
    for found, expected in zip((w, alpha, k), expected_gradients(w, alpha, k, upstream, form, 0.3), strict=True):
        np.testing.assert_allclose(found.grad, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("shape", "threshold_shape"), SHAPES[:4])
def test_gradients_of_the_published_form_pass_gradcheck(shape, threshold_shape):
    w, alpha, k, _ = draw(shape, threshold_shape)
    assert torch.autograd.gradcheck(lambda *t: threshold_gate(*t, "analytic"), (w, alpha, k))


def test_operator_check():
    w, alpha, k, _ = draw((6, 4), (1, 1), torch.float32)
    torch.library.opcheck(torch.ops.secateur.threshold_gate.default, (w, alpha, k, "analytic", False))


def test_sharp_edges_are_clipped():
    w = torch.full((1, 1), 0.5, requires_grad=True)
    alpha, k = torch.full((1, 1), 0.5), torch.full((1, 1), 40.0)
    pruned, _ = threshold_gate(w, alpha, k, "analytic")
    pruned.sum().backward()
    assert w.grad.item() == pytest.approx(fused.EDGE_CLIP + 0.5), "unclipped it would be 40/4 + 1/2"


def test_tiny_gates_are_exactly_zero():
    w = torch.tensor([[1e-3, -1e-30, 0.0, 2.0]])
    pruned, count = threshold_gate(w, torch.ones(1, 1), torch.full((1, 1), 30.0), "analytic")
    assert pruned[0, :3].tolist() == [0, 0, 0]
    assert pruned[0, 3].item() == pytest.approx(2.0)
    assert count.item() == pytest.approx(1.0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_diverged_reaches_the_count(form, place):
    tensors = draw((5, 4), (1, 1))[:3]
    with torch.no_grad():
        tensors[place][0, 0] = torch.nan
    assert threshold_gate(*tensors, form)[1].isnan()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("form", "hard"), [("straight_through", False), ("dense", True), ("analytic", True)])
def test_under_the_hard_mask_the_count_is_what_it_keeps_and_its_gradients_are_soft(form, hard, dtype):
    w, alpha, k, _ = draw((300, 200), (1, 1), dtype)
    pruned, count = threshold_gate(w, alpha, k, form, hard)
    assert int(count) == int(torch.count_nonzero(pruned)) == int((w.abs() > alpha).sum())
    found = torch.autograd.grad(count, (w, alpha, k))
    expected = torch.autograd.grad(threshold_gate(w, alpha, k, form)[1], (w, alpha, k))
    for one, other in zip(found, expected, strict=True):
        assert other.abs().max() > 0
        torch.testing.assert_close(one, other)


def test_non_contiguous_weights():
    w, alpha, k, upstream = draw((6, 9), (1, 1))
    straight, _ = threshold_gate(w, alpha, k, "dense")
    turned, _ = threshold_gate(w.t(), alpha, k, "dense")
    torch.testing.assert_close(turned, straight.t())
    strided = w.detach().reshape(6, 3, 3).permute(0, 2, 1).requires_grad_()
    found, _ = threshold_gate(strided, alpha.view(1, 1, 1), k.view(1, 1, 1), "analytic")
    (found * upstream.reshape(6, 3, 3)).sum().backward()
    expected = expected_gradients(
        strided, alpha.view(1, 1, 1), k.view(1, 1, 1), upstream.reshape(6, 3, 3), "analytic", 0.0
    )
    np.testing.assert_allclose(strided.grad, expected[0], atol=1e-9)


def test_pieces_do_not_change_the_result(monkeypatch):
    w, alpha, k, _ = draw((40, 30), (40, 1))
    whole, count = threshold_gate(w, alpha, k, "analytic")
    monkeypatch.setattr(pieces, "PIECE", 7)
    cut, counted = threshold_gate(w, alpha, k, "analytic")
    torch.testing.assert_close(cut, whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(counted, count)


def test_a_planted_fault_is_seen(monkeypatch):
    """The oracle above must be able to fail: with another threshold the gate differs from the definition."""
    w, alpha, k, _ = draw((7, 5), (1, 1))
    pruned, _ = threshold_gate(w, alpha * 1.01, k, "analytic")
    g = gate(w.detach().numpy(), alpha.detach().numpy(), k.detach().numpy())
    assert not np.allclose(pruned.detach(), w.detach().numpy() * g.h, atol=1e-12)
