"""nn.balance: soft counts and their gradients as maths.balance defines them; exact from the start where n is given."""

import itertools

import numpy as np
import pytest
import torch

from secateur.ir.pattern import GROUPS
from secateur.ir.rules import GRANULARITIES, Prune
from secateur.maths import balance
from secateur.maths.threshold import gate
from secateur.nn.balance import BalancedPrune


def stage_and_weight(dtype=torch.float32, axis=0, shape=(4, 9, 2, 2), **rule):
    w = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=dtype)
    w[0, 0] = 0.0
    stage = BalancedPrune(w, Prune("balanced", n=2, m=4, start=0.6, **rule), axis)
    with torch.no_grad():
        stage.alpha_raw.add_(0.2 * torch.rand(stage.alpha_raw.shape, generator=torch.Generator().manual_seed(1)))
    return stage, w.requires_grad_()


every_layout = pytest.mark.parametrize(
    ("groups", "granularity", "axis"), list(itertools.product(GROUPS, GRANULARITIES, (0, 1)))
)


@every_layout
def test_counts_are_those_of_the_definition(groups, granularity, axis):
    stage, w = stage_and_weight(axis=axis, groups=groups, granularity=granularity)
    h = gate(w.detach().numpy(), stage.alpha().detach().numpy(), stage.sharpness().detach().numpy()).h
    expected = balance.group_counts(stage.grouping.rows(torch.from_numpy(h)).numpy(), 4)
    np.testing.assert_allclose(stage.group_counts(w).detach().numpy(), expected, rtol=1e-5, atol=1e-5)


@every_layout
def test_gradients_are_those_of_the_definition(groups, granularity, axis):
    """Of any weighing of the counts, in the weight and in alpha; k is given."""
    stage, w = stage_and_weight(axis=axis, groups=groups, granularity=granularity)
    counts = stage.group_counts(w)
    upstream = torch.randn(counts.shape, generator=torch.Generator().manual_seed(2))
    (counts * upstream).sum().backward()
    alpha = stage.alpha().detach().numpy()
    found = gate(w.detach().numpy(), alpha, stage.sharpness().detach().numpy())
    length = stage.grouping.length
    spread = upstream.repeat_interleave(4, 1)[:, :length]
    toward = stage.grouping.whole(spread).numpy() * found.edge
    wanted = np.divide(toward, w.detach().numpy(), out=np.zeros_like(toward), where=w.detach().numpy() != 0)
    np.testing.assert_allclose(w.grad.numpy(), wanted, rtol=1e-3, atol=1e-4)
    axes = tuple(place for place in range(4) if alpha.shape[place] == 1)
    of_alpha = -(toward / alpha).sum(axes, keepdims=True)
    slope = torch.sigmoid(stage.alpha_raw.detach()).numpy() * stage.std.numpy()
    np.testing.assert_allclose(stage.alpha_raw.grad.numpy(), of_alpha * slope, rtol=1e-3, atol=1e-4)
    assert stage.beta_raw.grad is None


def test_gradients_equal_finite_differences_of_the_variance():
    stage, w = stage_and_weight(shape=(3, 10))
    sizes = torch.tensor(stage.patterns[0].sizes(10), dtype=torch.float32)

    def value(weights, alpha):
        h = gate(weights, alpha, float(stage.sharpness().detach())).h
        return balance.variance(balance.group_counts(h, 4), sizes.numpy())

    counts = stage.group_counts(w)
    shares = sizes * (counts.sum() / (sizes.sum() * len(counts)))
    (counts - shares).square().mean().backward()
    at, alpha, step = w.detach().numpy().astype(float), float(stage.alpha().detach()), 1e-5
    for place in np.ndindex(3, 10):
        up, down = at.copy(), at.copy()
        up[place] += step
        down[place] -= step
        expected = (value(up, alpha) - value(down, alpha)) / (2 * step)
        assert float(w.grad[place]) == pytest.approx(expected, abs=2e-4)
    expected = (value(at, alpha + step) - value(at, alpha - step)) / (2 * step)
    slope = float((torch.sigmoid(stage.alpha_raw) * stage.std).detach())
    assert float(stage.alpha_raw.grad) == pytest.approx(expected * slope, rel=1e-2, abs=1e-4)


def test_a_gradient_of_another_sign_would_be_noticed():
    """A planted fault: dh/dw of the other side of the gate."""
    stage, w = stage_and_weight(shape=(3, 10))
    stage.group_counts(w).sum().backward()
    assert (w.grad * w.detach() >= 0).all()
    assert w.grad.abs().max() > 1e-2


@pytest.mark.parametrize("form", ["dense", "analytic", "straight_through"])
@pytest.mark.parametrize("floor", [6.0, 30.0])
def test_where_n_is_given_the_network_computes_with_exactly_n_unless_told_otherwise(form, floor):
    stage, w = stage_and_weight(form=form)
    stage.sharpen_(floor)
    pruned, count = stage.soft(w)
    expected = torch.where(stage.project(w.detach().abs(), stage.patterns[0]), w.detach(), 0.0)
    torch.testing.assert_close(pruned.detach(), expected, rtol=1e-6, atol=1e-6)
    (pruned.square().sum() + count).backward()
    assert stage.alpha_raw.grad.abs() > 0
    assert float(count.detach()) != expected.count_nonzero()


def test_what_is_masked_goes_on_learning_by_default():
    """So a weight can come back: the gradient of what is used reaches all of them."""
    stage, w = stage_and_weight()
    stage.soft(w)[0].backward(torch.full(w.shape, 3.0))
    masked = ~stage.project(w.detach().abs(), stage.patterns[0])
    torch.testing.assert_close(w.grad[masked], torch.full((int(masked.sum()),), 3.0))


@pytest.mark.parametrize(("done", "kept"), [(0.0, 4), (0.3, 3), (1.0, 2)])
def test_on_the_way_it_computes_with_the_largest_of_what_is_in_use(done, kept):
    stage, w = stage_and_weight(shape=(4, 10))
    before = stage.versions()
    stage.narrow_(done)
    assert stage.versions() != before
    assert int(stage.in_use) == kept
    counts = stage.grouping.counts((stage.soft(w)[0] != 0).float())
    expected = torch.tensor([kept, kept, -(-kept * 2 // 4)]).expand(4, 3).clone()
    expected[0, 0] = min(kept, 3)  # one of its weights is 0
    assert torch.equal(counts.long(), expected)


def test_a_compiled_network_follows_what_is_in_use():
    """Without a graph of its own for every number."""
    stage, w = stage_and_weight(shape=(4, 16), also=None)
    torch.compiler.reset()
    compiled = torch.compile(lambda: stage.soft(w)[0], backend="aot_eager", fullgraph=True)
    for done in (0.0, 0.2, 0.5, 1.0):
        stage.narrow_(done)
        with torch.compiler.set_stance("default" if done == 0.0 else "fail_on_recompile"):
            torch.testing.assert_close(compiled(), stage.soft(w)[0])


def test_several_n_stay_soft_until_one_is_chosen():
    w = torch.randn(4, 8)
    stage = BalancedPrune(w, Prune("balanced", n=(1, 2), m=4))
    kept = [int((stage.soft(w)[0] != 0).sum()) for _ in range(2)]
    assert (stage.form, kept[0]) == ("straight_through", int((w.abs() > stage.alpha()).sum()))
    assert kept[0] > 16


def test_an_exact_pattern_goes_on_exactly_from_its_state():
    stage, w = stage_and_weight()
    stage.sharpen_(20.0)
    stage.narrow_(0.3)
    other, _ = stage_and_weight()
    other.load_state_dict(stage.state_dict())
    assert torch.equal(stage.soft(w)[0], other.soft(w)[0])
