"""nn.norms.penalty: the penalty's value and gradients, ascent of multipliers, and what is refused."""

import copy
from itertools import pairwise

import pytest
import torch
from torch import nn

from secateur.errors import PlanError, TrainingError
from secateur.nn.norms.lagrange_norm import FAR, LIMIT, MOMENTUM, LagrangeNorm1d, LagrangeNorm2d
from secateur.nn.norms.penalty import lagrange_norms, norm_penalty

X = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 1.5 + 0.3


def made(mode="augmented", **options):
    """Two layers in a row, the second with other multipliers."""
    model = nn.Sequential(
        LagrangeNorm2d(3, mode=mode, **options), nn.Flatten(2), LagrangeNorm1d(3, mode=mode, **options)
    )
    with torch.no_grad():
        for number, layer in enumerate(lagrange_norms(model).values()):
            layer.mean_multiplier.copy_(torch.tensor([0.1, -0.2, 0.3]) * (number + 1))
            layer.variance_multiplier.copy_(torch.tensor([0.2, 0.0, -0.1]))
            if mode == "squared":
                layer.mean_multiplier.abs_()
                layer.variance_multiplier.abs_()
    return model


def literal(layer, x, mode, wanted=1.0):
    """The published or augmented term, written out."""
    axes = [axis for axis in range(x.dim()) if axis != 1]
    mean, variance = x.mean(axes), x.var(axes, correction=0)
    mean = torch.where(mean.abs() > FAR, mean.sign() * FAR * (1 + (mean.abs() / FAR).log()), mean)
    far = wanted + FAR
    variance = torch.where(variance > far, far * (1 + (variance / far).log()), variance)
    total = 0.0
    for m, c in ((layer.mean_multiplier, mean), (layer.variance_multiplier, variance - wanted)):
        m, huber = m.detach(), torch.where(c.abs() <= FAR, c**2 / 2, FAR * (c.abs() - FAR / 2))
        total = total + ((m * c**2).sum() if mode == "squared" else (m * c + layer.rho * huber).sum())
    return total


@pytest.mark.parametrize("mode", ["augmented", "squared"])
@pytest.mark.parametrize("scale", [1.0, 20.0], ids=["near", "far"])
def test_value_and_gradient_are_those_of_the_formula(mode, scale):
    model = made(mode)
    x, y = (scale * X).requires_grad_(), (scale * X).requires_grad_()
    model(x)
    penalty = norm_penalty(model)
    penalty.backward()
    first, _, second = model
    wanted = literal(first, y, mode) + literal(second, y.flatten(2), mode)
    wanted.backward()
    torch.testing.assert_close(penalty, wanted)
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-4, atol=1e-7)


def test_multipliers_ascend_by_any_optimizer_that_descends():
    for optimizer in (torch.optim.SGD, torch.optim.Adam, torch.optim.RMSprop):
        model = nn.Sequential(LagrangeNorm2d(3))
        stepped = optimizer(model.parameters(), lr=0.1)
        model(X)
        norm_penalty(model).backward()
        stepped.step()
        constraint = X.mean((0, 2, 3)), X.var((0, 2, 3), correction=0) - 1
        layer = model[0]
        for multiplier, c in zip((layer.mean_multiplier, layer.variance_multiplier), constraint, strict=True):
            assert torch.equal(multiplier.detach().sign(), c.sign()), optimizer


def test_the_ascent_is_in_proportion_to_the_constraint_and_bounded():
    model = nn.Sequential(LagrangeNorm2d(3))
    layer = model[0]
    model(X + torch.tensor([0.0, 100.0, -100.0]).reshape(1, 3, 1, 1))
    norm_penalty(model).backward()
    rate = layer.rho**2 / 2
    wanted = torch.stack([X[:, 0].mean(), torch.tensor(LIMIT), torch.tensor(-LIMIT)])
    torch.testing.assert_close(layer.mean_multiplier.grad, -rate * wanted)


def test_squared_multipliers_only_grow_up_to_their_cap():
    model = nn.Sequential(LagrangeNorm2d(3, mode="squared"))
    optimizer = torch.optim.SGD(model.parameters(), lr=500.0)
    sizes = []
    for _ in range(20):
        optimizer.zero_grad()
        model(X)
        norm_penalty(model).backward()
        optimizer.step()
        sizes.append(model[0].mean_multiplier.detach().clone())
    model(X)
    norm_penalty(model)
    assert all((b >= a).all() for a, b in pairwise(sizes))
    assert model[0].variance_multiplier.max() == LIMIT


def test_a_trained_variance_follows_what_the_network_wants():
    model = nn.Sequential(LagrangeNorm2d(3, variance="trained"))
    model(X)
    norm_penalty(model).backward()
    apart = X.var((0, 2, 3), correction=0) - 1
    assert torch.equal(model[0].log_variance.grad.sign(), -apart.sign()), "s moves towards the variance"


def test_running_statistics_give_one_example_a_variance():
    model = nn.Sequential(LagrangeNorm1d(3, mode="running"))
    layer = model[0]
    generator = torch.Generator().manual_seed(1)
    mean, variance = torch.zeros(3), torch.ones(3)
    for _ in range(50):
        x = (3 * torch.randn(1, 3, generator=generator) + 1).requires_grad_()
        model(x)
        norm_penalty(model).backward()
        variance = (1 - MOMENTUM) * (variance + MOMENTUM * (x.detach()[0] - mean) ** 2)
        mean = mean + MOMENTUM * (x.detach()[0] - mean)
    torch.testing.assert_close(layer.batch_mean, mean)
    torch.testing.assert_close(layer.batch_variance, variance)
    near = torch.where(variance > 1 + FAR, (1 + FAR) * (1 + (variance / (1 + FAR)).log()), variance)
    steep = torch.where(variance > 1 + FAR, (1 + FAR) / variance, torch.ones(3))
    slope = (near - 1).clamp(-FAR, FAR)
    wanted = layer.rho * (mean + 2 * steep * slope * (x.detach()[0] - mean))  # multipliers are 0: not stepped
    torch.testing.assert_close(x.grad[0], wanted)


def test_accumulated_parts_divided_alike_give_the_mean_of_their_gradients():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), LagrangeNorm2d(3))
    parts, whole = X.split(1), copy.deepcopy(model)
    for part in parts:
        ((model(part).square().mean() + norm_penalty(model)) / 2).backward()
    total = sum(whole(part).square().mean() + norm_penalty(whole) for part in parts) / 2
    total.backward()
    for a, b in zip(model.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_a_layer_called_twice_has_two_penalties():
    layer = LagrangeNorm2d(3)
    model = nn.Sequential(layer)
    model(X)
    alone = norm_penalty(model)
    layer(X)
    layer(X)
    torch.testing.assert_close(norm_penalty(model), 2 * alone)


def test_what_is_refused():
    with pytest.raises(PlanError, match="no LagrangeNorm"):
        norm_penalty(nn.Linear(2, 2))
    model = nn.Sequential(LagrangeNorm2d(3))
    with pytest.raises(PlanError, match="no forward pass"):
        norm_penalty(model)
    model(X)
    norm_penalty(model)
    with pytest.raises(PlanError, match="no forward pass"):
        norm_penalty(model)


def test_divergence_names_the_layer():
    model = nn.Sequential(LagrangeNorm2d(3), nn.Sequential(nn.ReLU(), LagrangeNorm2d(3)))
    with torch.no_grad():
        model[0].weight.fill_(float("inf"))
    model(X)
    with pytest.raises(TrainingError, match=r"what reaches 1\.1 is no number"):
        norm_penalty(model)
    with torch.no_grad():
        model[0].weight.fill_(1.0)
        model[0].mean_multiplier.fill_(float("nan"))
    model(X)
    with pytest.raises(TrainingError, match="a multiplier"):
        norm_penalty(model)


def test_the_pull_on_a_scale_stays_bounded_however_large_it_is():
    pulls = []
    for scale in (10.0, 1e3, 1e6):
        model = nn.Sequential(LagrangeNorm2d(3))
        log_scale = torch.tensor(scale).log().requires_grad_()
        model(X * log_scale.exp())
        norm_penalty(model).backward()
        pulls.append(float(log_scale.grad))
    assert pulls[0] > 0
    assert max(pulls) < 1.01 * 2 * 3 * 0.03 * FAR * (1 + FAR + FAR), "2 d/d log of 3 variances, and of 3 means"


def test_constraints_are_reached():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), LagrangeNorm2d(4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(400):
        model(torch.randn(8, 3, 8, 8) * 2 + 1)
        optimizer.zero_grad()
        norm_penalty(model).backward()
        optimizer.step()
    assert model[1].batch_mean.abs().max() < 0.25
    assert (model[1].batch_variance - 1).abs().max() < 0.35
