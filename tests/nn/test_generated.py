"""Generated code behind the fused operators: the same as torch's own operators compute, and used by its rule alone."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from secateur.ir.rules import FORMS
from secateur.maths.threshold import gate
from secateur.nn import fused, generated, levels
from secateur.nn.fused import threshold_gate
from secateur.nn.levels import weighted_levels

SHAPES = [
    ((7, 5), (1, 1), (1, 1)),
    ((7, 5), (7, 1), (7, 1)),
    ((7, 5), (7, 1), (1, 1)),
    ((7, 5), (1, 1), (7, 1)),
    ((64, 3, 3, 3), (64, 1, 1, 1), (64, 1, 1, 1)),
    ((300, 333), (1, 1), (1, 1)),
    ((1,), (1,), (1,)),
    ((4, 0), (1, 1), (1, 1)),
    ((4, 0), (4, 1), (4, 1)),
    ((0, 4), (1, 1), (1, 1)),
]


def draw(shape, alpha_shape, k_shape):
    generator = torch.Generator().manual_seed(0)
    w, upstream = torch.randn((2, *shape), generator=generator)
    alpha = (torch.rand(alpha_shape, generator=generator) + 0.3).requires_grad_()
    k = (torch.rand(k_shape, generator=generator) + 6).requires_grad_()
    return w.requires_grad_(), alpha, k, upstream


def results(w, alpha, k, upstream, form):
    """pruned, count and the gradients of w, alpha and k."""
    for tensor in (w, alpha, k):
        tensor.grad = None
    pruned, count = threshold_gate(w, alpha, k, form)
    ((pruned * upstream).sum() + 0.3 * count).backward()
    return pruned.detach(), count.detach(), w.grad, alpha.grad, k.grad


def with_torch_alone(monkeypatch, *arguments):
    with monkeypatch.context() as patch:
        patch.setattr(generated, "processor", lambda: None)
        return results(*arguments)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("shape", "alpha_shape", "k_shape"), SHAPES)
def test_generated_code_and_torch_give_the_same(shape, alpha_shape, k_shape, form, monkeypatch):
    drawn = draw(shape, alpha_shape, k_shape)
    found, expected = results(*drawn, form), with_torch_alone(monkeypatch, *drawn, form)
    for one, other in zip(found, expected, strict=True):
        assert (one.shape, one.dtype, one.stride()) == (other.shape, other.dtype, other.stride())
        torch.testing.assert_close(one, other, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("form", FORMS)
def test_it_equals_the_definition(form):
    w, alpha, k, upstream = draw((300, 333), (1, 1), (1, 1))
    pruned, count, _, alpha_grad, k_grad = results(w, alpha, k, upstream, form)
    w64, up64, a64, k64 = (t.detach().double().numpy() for t in (w, upstream, alpha, k))
    g = gate(w64, a64, k64)
    kept = np.abs(w64) > a64 if form == "straight_through" else g.h
    np.testing.assert_allclose(pruned, w64 * kept, atol=1e-6)
    np.testing.assert_allclose(count, kept.sum(), rtol=2e-7)
    pull = up64 * w64 + 0.3
    np.testing.assert_allclose(alpha_grad.item(), (-pull * g.edge / a64).sum(), rtol=1e-5)
    np.testing.assert_allclose(k_grad.item(), (pull * g.dh_dk).sum(), rtol=1e-5, atol=1e-3)


def test_weights_that_do_not_lie_in_order_are_read_in_order(monkeypatch):
    w, alpha, k, upstream = draw((6, 9), (1, 1), (1, 1))
    turned = w.detach().t().requires_grad_()
    found, expected = (results(turned, alpha, k, upstream.t(), "analytic") for _ in range(2))
    straight = results(w, alpha, k, upstream, "analytic")
    assert torch.equal(found[0], straight[0].t())
    assert torch.equal(found[2], straight[2].t())
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    expanded = torch.ones(()).expand(6, 9)  # what the gradient of a sum looks like
    found = results(w, alpha, k, expanded, "analytic")
    expected = with_torch_alone(monkeypatch, w, alpha, k, expanded, "analytic")
    torch.testing.assert_close(found[2], expected[2], rtol=1e-5, atol=1e-5)


def averaged(x, x_max, p, upstream, widths):
    """The average over widths and the gradients of x, x_max and p."""
    for tensor in (x, x_max, p):
        tensor.grad = None
    average = weighted_levels(x, x_max, p, widths)
    (average * upstream).sum().backward()
    return average.detach(), x.grad, x_max.grad, p.grad


@pytest.mark.parametrize("widths", [[4], [2, 8], list(range(2, 9))], ids=str)
@pytest.mark.parametrize(("shape", "range_shape"), [shapes[:2] for shapes in SHAPES])
def test_averages_over_widths_are_the_same(shape, range_shape, widths, monkeypatch):
    generator = torch.Generator().manual_seed(1)
    x, upstream = torch.randn((2, *shape), generator=generator)
    x = torch.where(torch.rand(shape, generator=generator) < 0.5, x, 0.0).requires_grad_()
    x_max = (torch.rand(range_shape, generator=generator) + 0.8).requires_grad_()
    p = torch.softmax(torch.randn(len(widths), generator=generator), 0).requires_grad_()
    found = averaged(x, x_max, p, upstream, widths)
    with monkeypatch.context() as patch:
        patch.setattr(generated, "processor", lambda: None)
        expected = averaged(x, x_max, p, upstream, widths)
    for one, other in zip(found, expected, strict=True):
        assert (one.shape, one.dtype, one.stride()) == (other.shape, other.dtype, other.stride())
        torch.testing.assert_close(one, other, rtol=2e-5, atol=2e-5 * max(1, len(x) ** 0.5))


def test_one_width_gives_the_same_bits_as_torch(monkeypatch):
    """What is trained with generated code must lie on the grid that a file holds."""
    x = torch.randn(50, 40, generator=torch.Generator().manual_seed(2))
    x_max, one = torch.rand(50, 1, generator=torch.Generator().manual_seed(3)) + 0.8, torch.ones(1)
    found = [weighted_levels(x, x_max, one, [bits]) for bits in range(2, 9)]
    monkeypatch.setattr(generated, "processor", lambda: None)
    for average, bits in zip(found, range(2, 9), strict=True):
        assert torch.equal(average, weighted_levels(x, x_max, one, [bits]))


def test_the_rule(monkeypatch):
    single, double = torch.ones(3), torch.ones(3, dtype=torch.float64)
    meta = torch.ones(3, device="meta")
    assert generated.gate_for(single, "analytic") is not None
    assert generated.gate_for(double, "analytic") is None
    assert generated.gate_for(double.bfloat16(), "analytic") is None
    assert generated.gate_for(meta, "analytic") is None
    assert generated.levels_for(single, [2, 4]) is not None
    assert generated.levels_for(double, [2, 4]) is None
    generated.processor.cache_clear()
    monkeypatch.setattr(generated, "supported", tuple)
    assert generated.gate_for(single, "analytic") is None
    generated.processor.cache_clear()


def test_it_is_used(monkeypatch):
    """The comparisons above must not be of torch with itself."""
    drawn = draw((7, 5), (1, 1), (1, 1))
    monkeypatch.setattr(fused, "pieces", None)
    results(*drawn, "analytic")
    with pytest.raises(TypeError):
        with_torch_alone(monkeypatch, *drawn, "analytic")
    monkeypatch.setattr(levels, "pieces", None)
    arguments = torch.ones(3), torch.ones(1), torch.ones(1), [4]
    weighted_levels(*arguments)
    monkeypatch.setattr(generated, "processor", lambda: None)
    with pytest.raises(TypeError):
        weighted_levels(*arguments)


def bits(form):
    drawn = draw((64, 3, 3, 3), (64, 1, 1, 1), (64, 1, 1, 1))
    return b"".join(one.numpy().tobytes() for one in results(*drawn, form))


@pytest.mark.parametrize("form", FORMS)
def test_threads_and_a_forked_child_compute_the_same_bits(form):
    alone = bits(form)
    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(bits, [form] * 16)) == {alone}
    pruned = draw((64, 3, 3, 3), (64, 1, 1, 1), (64, 1, 1, 1))
    forward = [threshold_gate(*pruned[:3], form)[0].detach() for _ in range(2)]
    child = os.fork()
    if child == 0:  # forward alone: autograd itself does not survive a fork after a backward pass
        os._exit(0 if torch.equal(threshold_gate(*pruned[:3], form)[0], forward[0]) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_under_compile_and_export_it_is_one_operator():
    class Gated(torch.nn.Module):
        def forward(self, w, alpha, k):
            pruned, count = threshold_gate(w, alpha, k, "analytic")
            return pruned * 2, count

    w, alpha, k, _ = draw((7, 5), (7, 1), (7, 1))
    pruned, count = Gated()(w, alpha, k)
    for other in (
        torch.compile(Gated(), backend="aot_eager", fullgraph=True),
        torch.export.export(Gated(), (w, alpha, k)).module(),
    ):
        found = other(w, alpha, k)
        assert torch.equal(found[0], pruned)
        assert torch.equal(found[1], count)


def test_a_planted_fault_is_seen(monkeypatch):
    w, alpha, k, upstream = draw((7, 5), (7, 1), (7, 1))
    found = results(w, alpha, k, upstream, "analytic")
    off = (alpha.detach() * 1.001).requires_grad_()
    expected = with_torch_alone(monkeypatch, w, off, k, upstream, "analytic")
    for one, other in zip(found, expected, strict=True):
        with pytest.raises(AssertionError):
            torch.testing.assert_close(one, other, rtol=2e-5, atol=2e-5)
