"""replicas and replica_training: side by side, networks compute and learn what they do alone."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import secateur as sct
from bench_norms import METHODS, made, train_
from image_data import Split
from replica_training import Course, ReplicaSGD, replica_errors, replica_losses, train_replicas
from replicas import side_by_side

RATES = (0.05, 0.02, 0.01)
STEPS, BATCH, IMAGES = 5, 2, 40


@pytest.fixture(scope="module")
def data():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(IMAGES, 1, 28, 28, generator=generator, dtype=torch.float64)
    return Split(images, torch.randint(10, (IMAGES,), generator=generator))


def begun(network, method, data):
    """Three replicas with numbers of their own."""
    models = []
    for seed in range(len(RATES)):
        torch.manual_seed(seed)
        model = made(network, method).double()
        if method in ("lagrange", "none"):
            sct.initialise_norms_(model, data.images[seed::4])
            for norm in model.modules():
                if isinstance(norm, sct.LagrangeNorm2d):
                    nn.init.normal_(norm.multipliers)
        train_(model, method)
        models.append(model)
    return models


def orders():
    return torch.stack([torch.randperm(IMAGES, generator=torch.Generator().manual_seed(one)) for one in range(3)])


def alone(model, rate, order, data, *, constrained, every=1):
    """What one run is, written out with torch's optimizer."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=rate, momentum=0.9)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = rate * (1 + math.cos(math.pi * step / STEPS)) / 2
        chosen = order[step * BATCH : (step + 1) * BATCH]
        loss = F.cross_entropy(model(data.images[chosen]), data.labels[chosen])
        if constrained:
            loss = loss + sct.norm_penalty(model, step=step, every=every)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@pytest.mark.parametrize("network", ["plain12_narrow", "small_resnet_narrow"])
@pytest.mark.parametrize(("method", "every"), [*((method, 1) for method in METHODS), ("lagrange", 2)])
def test_replicas_learn_what_separate_runs_learn(network, method, every, data):
    models = begun(network, method, data)
    joined = side_by_side(models)
    first = {name: p.detach().clone() for name, p in joined.named_parameters()}
    finite = train_replicas(joined, RATES, Course(data, orders()[:, : STEPS * BATCH], BATCH), every)
    assert finite.all()
    for model, rate, order in zip(models, RATES, orders(), strict=True):
        alone(model, rate, order, data, constrained=method == "lagrange", every=every)
    wanted = dict(side_by_side(models).named_parameters())
    for name, p in joined.named_parameters():
        torch.testing.assert_close(p, wanted[name], rtol=1e-9, atol=1e-11, msg=name)
    moved = {name for name, p in joined.named_parameters() if not torch.equal(p, first[name])}
    still = {name for name in first if name.endswith("multipliers")} if method == "none" else set()
    assert moved == set(first) - still


def test_an_unlike_penalty_would_be_seen(data):
    """The oracle above is sharp enough to see whose channels share rho."""
    models = begun("plain12_narrow", "lagrange", data)
    joined = side_by_side(models)
    for norm in joined.modules():
        if isinstance(norm, sct.LagrangeNorm2d):
            norm.rho /= 1.001
    train_replicas(joined, RATES, Course(data, orders()[:, : STEPS * BATCH], BATCH))
    alone(models[0], RATES[0], orders()[0], data, constrained=True)
    apart = (joined[0].weight[:8] - models[0][0].weight).abs().max()
    assert apart > 1e-8


def test_a_replica_that_diverges_leaves_the_others_alone(data):
    course = Course(data, orders(), BATCH)
    for method in METHODS:
        pair, single = side_by_side(begun("plain12_narrow", method, data)), begun("plain12_narrow", method, data)[1]
        with torch.no_grad():
            pair[0].weight[:8] = float("nan") if method in ("batch", "group") else 1e30
        finite = train_replicas(pair, RATES, course)
        assert finite.tolist() == [False, True, True], method
        assert torch.isfinite(pair[0].weight).all()
        wanted = side_by_side([single])
        train_replicas(wanted, RATES[1:2], Course(data, orders()[1:2], BATCH))
        torch.testing.assert_close(pair[0].weight[8:16], wanted[0].weight, rtol=1e-7, atol=1e-9)


def test_losses_and_errors_are_one_a_replica(data):
    models = begun("small_resnet_narrow", "group", data)
    joined = side_by_side(models)
    images, labels = next(iter(Course(data, orders(), BATCH)))
    losses = replica_losses(joined, images, labels)
    errors = replica_errors(joined, data, len(models))
    for replica, (model, order) in enumerate(zip(models, orders(), strict=True)):
        chosen = order[:BATCH]
        assert losses[replica].item() == pytest.approx(
            F.cross_entropy(model(data.images[chosen]), data.labels[chosen]).item()
        )
        wrong = (model.eval()(data.images).argmax(1) != data.labels).double().mean()
        assert errors[replica] == pytest.approx(100 * wrong.item(), abs=0.01)


def test_a_step_is_by_each_replicas_own_rate():
    joined = side_by_side([nn.Sequential(nn.Conv2d(1, 2, 1), sct.LagrangeNorm2d(2)) for _ in range(2)])
    optimizer = ReplicaSGD(joined, [0.5, 0.0])
    before = {name: p.detach().clone() for name, p in joined.named_parameters()}
    for p in joined.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step(1.0)
    for name, p in joined.named_parameters():
        moved = (before[name] - p.detach()).movedim(1 if name.endswith("multipliers") else 0, 0)
        assert torch.equal(moved[:2], torch.full_like(moved[:2], 0.5)), name
        assert not moved[2:].any()


def test_what_has_no_form_for_replicas_is_refused():
    with pytest.raises(TypeError, match="PReLU"):
        side_by_side([nn.Sequential(nn.PReLU())] * 2)
