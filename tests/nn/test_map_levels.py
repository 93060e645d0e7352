"""nn.map_levels: the fused operators against the numpy definition, finite differences and torch's operator checks."""

import numpy as np
import pytest
import torch

from secateur.maths import grid, map_grid
from secateur.nn import generated, map_levels, pieces
from secateur.nn.map_levels import fake_quantize, weighted_maps

WIDTHS = [[4], [2], [2, 3, 4, 6], [2, 8], list(range(2, 9))]
TAU = 0.7
SHAPES = [(7, 5), (2, 3, 4, 5), (1,), (0, 3), (4, 0, 2), (3, 70_000)]
SIGNED = [True, False]


def draw(shape, widths, dtype=torch.float64):
    random = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=random, dtype=dtype).requires_grad_()
    x_max = torch.tensor(1.3, dtype=torch.float64).requires_grad_()
    theta = torch.randn(len(widths), generator=random, dtype=torch.float64).requires_grad_()
    return x, x_max, theta, torch.randn(shape, generator=random, dtype=dtype)


def soft(x, x_max, theta, widths, signed):
    return weighted_maps(x, x_max, torch.softmax(theta / TAU, 0), widths, signed=signed)


@pytest.mark.parametrize("signed", SIGNED)
@pytest.mark.parametrize("widths", WIDTHS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_average_and_its_gradients_equal_the_definition(shape, widths, signed):
    x, x_max, theta, upstream = draw(shape, widths)
    result = soft(x, x_max, theta, widths, signed)
    (result * upstream).sum().backward()
    expected = map_grid.map_average(x.detach().numpy(), 1.3, theta.detach().numpy(), TAU, widths, signed=signed)
    g = upstream.numpy()
    np.testing.assert_allclose(result.detach(), expected.value, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(x.grad, g * expected.dx, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(x_max.grad, (g * expected.dx_max).sum(), rtol=1e-9, atol=1e-9)
    dtheta = (g * expected.dtheta).reshape(len(widths), -1).sum(1)
    np.testing.assert_allclose(theta.grad, dtheta, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("signed", SIGNED)
@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_one_width_and_its_gradients_equal_the_definition(shape, bits, signed):
    x, _, _, upstream = draw(shape, [bits])
    high = map_grid.codes(bits, signed=signed)[1]
    scale = torch.tensor(1.3 / high, dtype=torch.float64).requires_grad_()
    result = fake_quantize(x, scale, bits, signed=signed)
    (result * upstream).sum().backward()
    expected, g = map_grid.map_level(x.detach().numpy(), scale.item() * high, bits, signed=signed), upstream.numpy()
    np.testing.assert_allclose(result.detach(), expected.value, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(x.grad, g * expected.dx, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(scale.grad, (g * expected.dx_max).sum() * high, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("signed", SIGNED)
@pytest.mark.parametrize("bits", range(2, 9))
def test_in_float32_one_width_is_bit_for_bit_what_a_graph_computes(bits, signed):
    x = torch.randn(9, 40, 30, generator=torch.Generator().manual_seed(bits))
    low, high = map_grid.codes(bits, signed=signed)
    scale = torch.tensor(1.7 / high).half().float()
    x[0] = scale * (torch.randint(low - 2, high + 3, (40, 30)) + 0.5)  # halves
    found, half = fake_quantize(x, scale, bits, signed=signed).numpy(), np.float32(0.5)
    codes = np.clip(np.floor(x.numpy() / scale.numpy() + half), low, high)
    np.testing.assert_array_equal(found, codes.astype(np.float32) * scale.numpy())
    one = weighted_maps(x, scale * high, torch.ones(1), [bits], signed=signed)
    assert torch.equal(one, torch.from_numpy(found))


@pytest.mark.parametrize("stretch", [map_levels.STRETCH, 7])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype, stretch, monkeypatch):
    monkeypatch.setattr(map_levels, "STRETCH", stretch)
    x, x_max, theta, upstream = (t.detach() for t in draw((2, 3, 4, 5), [2, 8], dtype))
    p, x_max = torch.softmax(theta, 0).float(), x_max.float()
    low, single = x.clone().requires_grad_(), x.float().requires_grad_()
    for one, g in ((low, upstream), (single, upstream.float())):
        weighted_maps(one, x_max, p, [2, 8], signed=True).backward(g)
    found = weighted_maps(x, x_max, p, [2, 8], signed=True)
    assert found.dtype == dtype
    assert torch.equal(found, weighted_maps(x.float(), x_max, p, [2, 8], signed=True).to(dtype))
    assert torch.equal(low.grad, single.grad.to(dtype))
    hard = fake_quantize(x, torch.tensor(0.25), 4, signed=True)
    assert torch.equal(hard, fake_quantize(x.float(), torch.tensor(0.25), 4, signed=True).to(dtype))


LAYOUTS = {
    "channels_last": lambda x: x.to(memory_format=torch.channels_last),
    "permuted": lambda x: x.permute(3, 1, 0, 2),
    "every second": lambda x: x[:, :, ::2],
    "expanded": lambda x: x[:1].expand(4, -1, -1, -1),
    "from within": lambda x: x[1:],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_memory_format(layout):
    x = LAYOUTS[layout](torch.randn(2, 6, 4, 4, generator=torch.Generator().manual_seed(0)))
    plain = x.clone(memory_format=torch.contiguous_format)
    upstream = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    results = []
    for one, g in ((x, upstream), (plain, upstream), (x, upstream.transpose(0, 1).contiguous().transpose(0, 1))):
        leaf = one.detach().requires_grad_()
        found = weighted_maps(leaf, torch.tensor(1.3), torch.tensor([0.3, 0.7]), [2, 4], signed=True)
        found.backward(g)
        results.append((found.detach(), leaf.grad))
    for found, gradient in results[1:]:
        assert torch.equal(found, results[0][0])
        assert torch.equal(gradient, results[0][1])
    assert results[0][0].stride() == torch.empty_like(x).stride()


def test_the_gradient_of_the_shares_passes_gradcheck():
    """In x and x_max the operator is a staircase, whose derivatives are straight-through: those are not checked so."""
    x, x_max, theta, _ = draw((6, 5), [2, 3, 5])
    assert torch.autograd.gradcheck(lambda t: soft(x.detach(), x_max.detach(), t, [2, 3, 5], True), (theta,))


@pytest.mark.parametrize("layout", ["channels_last", "every second"])
def test_operator_checks(layout):
    x = LAYOUTS[layout](torch.randn(2, 6, 4, 4)).detach().requires_grad_()
    one = torch.tensor(1.3).requires_grad_()
    torch.library.opcheck(torch.ops.secateur.fake_quantize.default, (x, one, 4, True))
    p = torch.tensor([0.4, 0.6]).requires_grad_()
    torch.library.opcheck(torch.ops.secateur.weighted_maps.default, (x, one, p, [2, 4], False))


def test_under_compile_and_export_they_are_operators():
    class Net(torch.nn.Module):
        def forward(self, x, end, p):
            return weighted_maps(x, end, p, [2, 4], signed=True) + fake_quantize(x, end / 7, 4, signed=True)

    arguments = torch.randn(3, 4), torch.tensor(1.3), torch.tensor([0.4, 0.6])
    expected = Net()(*arguments)
    exported = torch.export.export(Net(), arguments)
    assert "secateur.fake_quantize.default" in str(exported.graph)
    for other in (torch.compile(Net(), backend="aot_eager", fullgraph=True), exported.module()):
        assert torch.equal(other(*arguments), expected)


def test_pieces_do_not_change_the_result(monkeypatch):
    widths, results = [2, 3, 8], []
    for piece in (pieces.PIECE, 7):
        monkeypatch.setattr(pieces, "PIECE", piece)
        x, x_max, theta, upstream = draw((40, 30), widths)
        result = soft(x, x_max, theta, widths, signed=True)
        (result * upstream).sum().backward()
        results.append((result.detach(), x.grad, x_max.grad, theta.grad))
    for whole, cut in zip(*results, strict=True):
        torch.testing.assert_close(cut, whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("signed", SIGNED)
@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_generated_code_and_torch_give_the_same(widths, signed, monkeypatch):
    results = []
    for alone in (False, True):
        monkeypatch.setattr(generated, "processor", (lambda: None) if alone else generated.processor)
        x, x_max, theta, upstream = draw((37, 101), widths, torch.float32)
        result = soft(x, x_max.float(), theta.float(), widths, signed)
        (result * upstream).sum().backward()
        results.append((result.detach(), x.grad, x_max.grad, theta.grad))
    for one, other in zip(*results, strict=True):
        assert (one.shape, one.dtype, one.stride()) == (other.shape, other.dtype, other.stride())
        torch.testing.assert_close(one, other, rtol=2e-5, atol=2e-4)
    monkeypatch.setattr(map_levels, "pieces", None)
    with pytest.raises(TypeError):  # the comparison must not be of torch with itself
        soft(x, x_max.float(), theta.float(), widths, signed)


def test_nothing_but_the_map_itself_is_kept_for_the_backward_pass():
    x = torch.randn(100, 100, requires_grad=True)
    kept = []
    p = torch.full((7,), 1 / 7, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        weighted_maps(x, torch.tensor(2.0, requires_grad=True), p, list(range(2, 9)), signed=True)
    assert sorted(t.numel() for t in kept) == [1, 7, 10_000]
    assert max(kept, key=torch.Tensor.numel).data_ptr() == x.data_ptr()


def test_what_diverged_is_seen():
    x = torch.tensor([1.0, float("nan")])
    assert fake_quantize(x, torch.tensor(0.1), 4, signed=True).isnan().tolist() == [False, True]
    assert weighted_maps(x, torch.tensor(1.0), torch.ones(1), [4], signed=False).isnan().tolist() == [False, True]


def test_a_planted_fault_is_seen():
    """The oracle above must be able to fail: a range that is a little wider gives other values."""
    x, x_max, theta, _ = draw((7, 5), [2, 4])
    found = soft(x, x_max * 1.001, theta, [2, 4], signed=True).detach()
    expected = map_grid.map_average(x.detach().numpy(), 1.3, theta.detach().numpy(), TAU, [2, 4], signed=True)
    assert not np.allclose(found, expected.value, rtol=1e-12, atol=1e-12)
    assert grid.shares(theta.detach().numpy(), TAU).sum() == pytest.approx(1)
