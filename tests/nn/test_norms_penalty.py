"""nn.norms.penalty: the penalty's value and gradients, ascent of multipliers, and what is refused."""

import copy
import gc
import weakref
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from secateur.errors import PlanError, TrainingError
from secateur.nn import generated
from secateur.nn.norms import penalty as penalties
from secateur.nn.norms.distance import norm_distances
from secateur.nn.norms.lagrange_norm import RHO, LagrangeNorm1d, LagrangeNorm2d
from secateur.nn.norms.penalty import MOMENTUM, lagrange_norms, norm_penalty
from secateur.nn.norms.terms import ASCENT, FAR, LIMIT

X = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 1.5 + 0.3


@pytest.fixture(autouse=True, params=["at once", "layer by layer"])
def pulls(request, monkeypatch):
    """How inputs get their gradients: small ones all at once, large ones as the backward pass comes by."""
    if request.param == "layer by layer":
        monkeypatch.setattr(penalties, "AT_ONCE", 0.0)


def test_small_inputs_are_those_that_are_together_a_share_of_all():
    assert penalties._large((50, 25, 10, 10), 100, 1 / 3) == (1, 0)
    assert penalties._large((50, 25, 10, 10), 49, 1.0) == (0,)
    assert penalties._large((50, 25, 10, 10), 50, 1.0) == ()
    assert penalties._large((7,), 100, 1 / 3) == (0,)


def made(mode="augmented", **options):
    """Two layers in a row, the second with other multipliers."""
    model = nn.Sequential(
        LagrangeNorm2d(3, mode=mode, **options), nn.Flatten(2), LagrangeNorm1d(3, mode=mode, **options)
    )
    with torch.no_grad():
        for number, layer in enumerate(lagrange_norms(model).values()):
            layer.multipliers.copy_(torch.tensor([[1.0, -2.0, 3.0], [2.0, 0.0, -1.0]]) * (number + 1))
            if mode == "squared":
                layer.multipliers.abs_()
    return model


def literal(layer, x, mode, wanted=1.0):
    """The published or augmented term, written out."""
    axes = [axis for axis in range(x.dim()) if axis != 1]
    mean, variance = x.mean(axes), x.var(axes, correction=0)
    total = 0.0
    for m, x in zip(layer.multipliers.detach(), (mean, variance - wanted), strict=True):
        c = torch.where(x.abs() > FAR, x.sign() * FAR * (1 + (x.abs() / FAR).log()), x)
        huber = torch.where(c.abs() <= FAR, c**2 / 2, FAR * (c.abs() - FAR / 2))
        total = total + (m * c**2 if mode == "squared" else m * c + huber).mean()
    return layer.rho * total


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
        assert torch.equal(layer.multipliers.detach().sign(), torch.stack(constraint).sign()), optimizer


def test_the_ascent_is_in_proportion_to_the_constraint_and_bounded():
    model = nn.Sequential(LagrangeNorm2d(3))
    layer = model[0]
    model(X + torch.tensor([0.0, 100.0, -100.0]).reshape(1, 3, 1, 1))
    norm_penalty(model).backward()
    rate = ASCENT * layer.rho / 3
    wanted = torch.stack([X[:, 0].mean(), torch.tensor(1.0), torch.tensor(-1.0)])
    torch.testing.assert_close(layer.multipliers.grad[0], -rate * wanted)


def test_squared_multipliers_only_grow_up_to_their_cap():
    model = nn.Sequential(LagrangeNorm2d(3, mode="squared"))
    optimizer = torch.optim.SGD(model.parameters(), lr=2000.0)
    sizes = []
    for _ in range(20):
        optimizer.zero_grad()
        model(X)
        norm_penalty(model).backward()
        optimizer.step()
        sizes.append(model[0].multipliers.detach().clone())
    assert all((b >= a).all() for a, b in pairwise(sizes))
    assert LIMIT <= sizes[-1].max() < LIMIT + 2000 * ASCENT * RHO / 3
    assert torch.equal(sizes[-1].argmax(), sizes[-2].argmax())
    assert sizes[-1].max() == sizes[-2].max(), "nothing is gained beyond"


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
    apart = variance - 1
    slope = apart.clamp(-FAR, FAR) * (FAR / apart.abs()).clamp_max(1)
    wanted = layer.rho / 3 * (mean + 2 * slope * (x.detach()[0] - mean))  # multipliers are 0: not stepped
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


def test_the_pull_is_added_once_however_the_loss_is_taken_apart():
    together, apart, twice = (nn.Sequential(nn.Conv2d(3, 3, 1), *made()) for _ in range(3))
    for model in (apart, twice):
        model.load_state_dict(together.state_dict())
    (together(X).square().mean() + norm_penalty(together)).backward()
    task = apart(X).square().mean()
    penalty = norm_penalty(apart)
    torch.autograd.grad(penalty, apart[1].multipliers, retain_graph=True)  # reaches no input: leaves nothing behind
    task.backward(retain_graph=True)
    penalty.backward()
    loss = twice(X).square().mean() + norm_penalty(twice)
    loss.backward(retain_graph=True)
    loss.backward()
    for a, b, c in zip(*(model.parameters() for model in (together, apart, twice)), strict=True):
        torch.testing.assert_close(b.grad, a.grad)
        torch.testing.assert_close(c.grad, 2 * a.grad)


@pytest.mark.parametrize("comes_by", [True, False])
def test_inputs_are_gone_after_a_backward_pass_without_a_collector(comes_by):
    """Of the whole loss, or of the penalty in multipliers alone, which comes by no input."""
    model, gone = nn.Sequential(nn.Conv2d(3, 3, 1), LagrangeNorm2d(3)), []
    wanted = list(model.parameters()) if comes_by else [model[1].multipliers]
    gc.disable()
    try:
        x = model[0](X)
        weakref.finalize(x, gone.append, True)
        y = model[1](x)
        del x
        found = torch.autograd.grad(y.sum() + norm_penalty(model) if comes_by else norm_penalty(model), wanted)
        del y
        assert found[-1].abs().sum() > 0
        assert gone == [True]
    finally:
        gc.enable()


def test_an_input_without_a_gradient_still_teaches_the_multipliers():
    model = made()
    model[0](X)
    norm_penalty(model).backward()
    assert model[0].multipliers.grad.abs().sum() > 0


def test_a_layer_called_twice_has_two_penalties():
    layer = LagrangeNorm2d(3)
    model = nn.Sequential(layer)
    model(X)
    alone = norm_penalty(model)
    layer(X)
    layer(X)
    torch.testing.assert_close(norm_penalty(model), 2 * alone)


def test_a_penalty_in_every_third_step_is_there_three_times():
    model, found = made(), []
    model(X)
    alone = norm_penalty(model)
    for step in range(6):
        x = X.clone().requires_grad_()
        model(x)
        found.append(norm_penalty(model, step=step, every=3))
        (found[-1] + 0 * x.sum()).backward()
        assert bool(x.grad.any()) == (step in (0, 3))
    torch.testing.assert_close(torch.stack(found), torch.tensor([3.0, 0, 0, 3.0, 0, 0]) * alone)
    assert all(layer.take() == [] for layer in lagrange_norms(model).values()), "nothing is left for the next step"


def test_what_is_refused():
    with pytest.raises(PlanError, match="every=0"):
        norm_penalty(made(), every=0)
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
        model[0].multipliers.fill_(float("nan"))
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
    assert max(pulls) < 1.01 * RHO * FAR * (2 * (FAR + 1) + FAR), "of a variance, 2 d/d log, and of a mean"


def test_constraints_are_reached():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), LagrangeNorm2d(4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    for _ in range(600):
        model(torch.randn(8, 3, 8, 8) * 2 + 1)
        optimizer.zero_grad()
        norm_penalty(model).backward()
        optimizer.step()
    (found,) = norm_distances(model, [(torch.randn(64, 3, 8, 8) * 2 + 1,)]).values()
    assert found.worst[0] < 0.25
    assert found.worst[1] < 0.35


@pytest.mark.parametrize("mode", ["augmented", "squared", "running"])
@pytest.mark.parametrize("variance", [2.0, "trained"])
def test_generated_code_and_torch_give_the_same(monkeypatch, mode, variance):
    found = []
    for processor in (generated.processor, lambda: None):
        monkeypatch.setattr(generated, "processor", processor)
        model, x = made(mode, variance=variance), X.clone().requires_grad_()
        model(x)
        (3 * norm_penalty(model)).backward()
        found.append([x.grad, *(p.grad for p in model.parameters() if p.grad is not None)])
    assert len(found[0]) >= 3
    for first, second in zip(*found, strict=True):
        torch.testing.assert_close(first, second)


def test_a_model_in_bfloat16_has_the_penalty_of_its_rounded_inputs():
    model = made().bfloat16()
    x = X.bfloat16().requires_grad_()
    model(x)
    penalty = norm_penalty(model)
    penalty.backward()
    assert penalty.dtype == torch.float32
    wide = made()
    wide(X.bfloat16().float())
    torch.testing.assert_close(penalty, norm_penalty(wide), rtol=2e-2, atol=0)
    assert x.grad.dtype == torch.bfloat16
    assert model[0].multipliers.grad.dtype == torch.bfloat16


def test_second_derivatives_are_refused_rather_than_wrong():
    model = made()
    x = X.clone().requires_grad_()
    model(x)
    penalty = norm_penalty(model)
    with pytest.raises(TrainingError, match="no second derivative"):
        torch.autograd.grad(penalty, x, create_graph=True)


def checkpointed_net():
    torch.manual_seed(0)
    first = [nn.Conv2d(3, 4, 1), LagrangeNorm2d(4), nn.ReLU()]
    return nn.Sequential(nn.Sequential(*first), nn.Conv2d(4, 4, 1), LagrangeNorm2d(4))


def trained(first, *, apart=False):
    """Multipliers' gradients in every step of three; `first` runs the first part. apart: two backward passes."""
    model, found = checkpointed_net(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        loss = model[1:](first(model[0], X.clone().requires_grad_())).square().mean()
        penalty = norm_penalty(model)
        if apart:
            loss.backward(retain_graph=True)
            penalty.backward()
        else:
            (loss + penalty).backward()
        found += [layer.multipliers.grad.clone() for layer in lagrange_norms(model).values()]
        optimizer.step()
    return found


@pytest.mark.parametrize("apart", [False, True])
def test_what_activation_checkpointing_computes_again_is_no_pass_of_its_own(apart):
    wanted = trained(lambda part, x: part(x), apart=apart)
    torch.testing.assert_close(trained(lambda part, x: checkpoint(part, x, use_reentrant=False), apart=apart), wanted)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch 2.13 does it itself
def test_nor_where_a_compiled_part_is_checkpointed():
    def first(part, x):
        return checkpoint(torch.compile(part, backend="aot_eager", fullgraph=True), x, use_reentrant=False)

    torch.testing.assert_close(trained(first), trained(lambda part, x: part(x)))


def test_reentrant_checkpointing_hides_passes_and_is_refused():
    with pytest.raises(PlanError, match=r"LagrangeNorm2d\(4\).*use_reentrant=False"):
        trained(lambda part, x: checkpoint(part, x, use_reentrant=True))
    model = checkpointed_net()
    checkpoint(model, X.clone().requires_grad_(), use_reentrant=True)
    with pytest.raises(PlanError, match="use_reentrant=False"):
        norm_penalty(model)
