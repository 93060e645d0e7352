"""train.quantization_loss: what each width costs in second order, of weights and maps, only while widths learn; resumed
exactly."""

import pytest
import torch
from torch import nn

from mapped import batches, mapped, watched
from prepared import EXAMPLE, prepared, quantized
from secateur.errors import SecateurWarning
from secateur.ir.rules import Prune, Quantize
from secateur.ir.target import Target
from secateur.nn.groups import param_groups
from secateur.nn.map_sites import maps_of
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_
from secateur.nn.transform import transforms_of
from secateur.train.budget import Budget
from secateur.train.phases import LEARN, advance_
from secateur.train.quantization_loss import EVERY, KEPT, QuantizationLoss

LABELS = torch.tensor([0, 1])


TWO = Quantize((2, 4))


def learning(rule=TWO, *, prune=None):
    model = prepared(prune, rule) if prune else quantized(rule)
    sites = transforms_of(model)
    advance_(sites, LEARN)
    nn.functional.cross_entropy(model(EXAMPLE), LABELS).backward()
    return model, sites


def test_equals_its_definition():
    _, sites = learning(prune=Prune())
    loss = QuantizationLoss(sites)
    loss.look(2)
    expected = 0.0
    for site in sites:
        stage, w, g = site.transform.quantize, site.original.detach(), site.original.grad
        mask = site.transform.prune.score(w) > 1
        for share, bits in zip(stage.shares(), stage.widths, strict=True):
            largest = 2 ** (bits - 1) - 1
            step = (stage.x_max() / largest).half().float()
            codes = (w / step).abs().round().clamp(1, largest) * w.sign()
            expected += share * (2 * g.square() * (codes * step - w).square() * mask).sum() / 2
    assert float(loss().detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert float(loss().detach()) > 0


def test_pulls_towards_the_wider_width():
    _, sites = learning()
    loss = QuantizationLoss(sites)
    loss.look(2)
    for site in sites:
        site.transform.quantize.theta.grad = None
    loss().backward()
    for site in sites:
        gradient = site.transform.quantize.theta.grad
        assert gradient[0] > 0 > gradient[-1], "descending must move shares from the narrowest width to the widest"


def test_is_the_second_order_loss_of_a_real_quadratic():
    """For a loss that is quadratic in the weights with per-example gradients of known size, E_n is what rounding costs
    on average."""
    torch.manual_seed(0)
    layer = nn.Linear(64, 1, bias=False)
    net = nn.Sequential(layer)
    x = torch.randn(4096, 64)
    y = (layer(x) + torch.randn(4096, 1)).detach()  # unit noise: the Fisher information of w is E[x x^T] = 1

    prepare_(net, plan(net, x[:2], quantize=Quantize((2, 8))))
    sites = transforms_of(net)
    advance_(sites, LEARN)
    stage = sites[0].transform.quantize
    loss = QuantizationLoss(sites)
    for i in range(0, 4096, 8):
        net.zero_grad()
        (0.5 * (net(x[i : i + 8]) - y[i : i + 8]).square().mean()).backward()
        for _ in range(EVERY):
            loss.look(8)
    w = sites[0].original.detach()
    real = 0.5 * (stage.nearest(w, 2) - w).square().sum()
    assert loss._errors["0.weight"][0].item() == pytest.approx(float(real), rel=0.35)


def test_silent_until_widths_learn_and_for_single_widths():
    model = quantized(TWO)
    loss = QuantizationLoss(transforms_of(model))
    nn.functional.cross_entropy(model(EXAMPLE), LABELS).backward()
    loss.look(2)
    assert float(loss().detach()) == 0
    _, sites = learning(Quantize(4))
    single = QuantizationLoss(sites)
    single.look(2)
    assert float(single().detach()) == 0


def test_looks_once_in_every_steps_and_averages():
    _, sites = learning()
    loss = QuantizationLoss(sites)
    loss.look(2)
    first = {name: errors.clone() for name, errors in loss._errors.items()}
    for site in sites:
        site.original.grad.mul_(2)
    for _ in range(EVERY - 1):
        loss.look(2)
    assert all(torch.equal(errors, first[name]) for name, errors in loss._errors.items())
    loss.look(2)
    for name, errors in loss._errors.items():
        assert torch.allclose(errors, first[name] * (KEPT + 4 * (1 - KEPT)))


def test_a_step_without_gradients_is_told_once():
    model, sites = learning()
    loss = QuantizationLoss(sites)
    model.zero_grad()
    with pytest.warns(SecateurWarning, match="has no gradient when budget.step"):
        loss.look(2)
    for _ in range(EVERY):
        loss.look(2)


def test_budget_adds_it_and_resumes_it():
    model = quantized(TWO)
    target = Target(average_bits=3)
    optimizer = torch.optim.Adam(param_groups(model), lr=1e-3)

    def run(budget, steps):
        for _ in range(steps):
            loss = nn.functional.cross_entropy(model(EXAMPLE), LABELS) + budget()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            budget.step(2)

    budget = Budget(model, target, steps=40)
    run(budget, 30)
    assert budget.learns_widths
    assert float(budget.quantization_loss().detach()) > 0
    again = Budget(model, target, steps=40)
    again.load_state_dict(budget.state_dict())
    assert float(again.quantization_loss().detach()) == float(budget.quantization_loss().detach())
    assert float(again().detach()) == float(budget().detach())
    constraints = sum(
        budget.multipliers[n] * c + 0.1 * c.clamp_min(0).square() for n, c in budget._constraints().items()
    )
    assert float(budget().detach()) == pytest.approx(float((constraints + budget.quantization_loss()).detach()))


def test_of_a_model_in_float64_resumes(request):
    model = quantized(TWO).double()
    request.addfinalizer(lambda: torch.set_default_dtype(torch.float32))
    torch.set_default_dtype(torch.float64)
    sites = transforms_of(model)
    advance_(sites, LEARN)
    model(EXAMPLE.double()).square().sum().backward()
    loss, again = QuantizationLoss(sites), QuantizationLoss(sites)
    loss.look(2)
    again.load_state_dict(loss.state_dict())
    assert float(loss().detach()) == float(again().detach()) > 0


def watching_maps():
    """A model with quantized maps that learn and watch the next batch; its maps, the looks, a batch."""
    model = watched(mapped(Quantize({2, 4, 8})))
    maps = maps_of(model)
    advance_((), LEARN, maps)
    loss = QuantizationLoss((), maps)
    for _ in range(EVERY):
        loss.look(32)
    return model, maps, loss, batches(1)[0]


def seen_maps():
    """Maps that have watched a batch whose gradients are not looked at yet; the looks; the batch."""
    model, maps, loss, x = watching_maps()
    model(x).square().mean().backward()
    return maps, loss, x


def test_of_maps_equals_its_definition():
    """The input's quantizer, whose values and gradients are those of the batch itself."""
    model, maps, loss, x = watching_maps()
    kept = []
    first = maps[0].quantizer
    handle = first.register_forward_hook(lambda _m, _x, y: (y.retain_grad(), kept.append(y))[1])
    model(x).square().mean().backward()
    handle.remove()
    loss.look(32)
    expected = []
    for bits in first.widths:
        scale = first.scale(bits)
        low, high = (-(2 ** (bits - 1)) + 1, 2 ** (bits - 1) - 1) if first.signed else (0, 2**bits - 1)
        near = (x / scale + 0.5).floor().clamp(low, high) * scale
        expected.append(32 * float((kept[0].grad.square() * (near - x).square()).sum()) / 2)
    found = loss.state_dict()["errors"][f"map {maps[0].name}"]
    assert found == pytest.approx(expected, rel=1e-4)
    assert found[0] > found[1] > found[2] > 0
    parts = loss.by_name()
    assert set(parts) == {site.name for site in maps}
    assert sum(parts.values()) == pytest.approx(float(loss().detach()))


def test_of_maps_pulls_towards_wider_widths():
    maps, loss, _ = seen_maps()
    loss.look(32)
    for site in maps:
        site.quantizer.theta.grad = None
    loss().backward()
    for site in maps:
        gradient = site.quantizer.theta.grad
        assert gradient[0] > 0 > gradient[-1]
        assert site.quantizer.watched is None


def test_maps_that_are_not_seen_are_told():
    maps, loss, _ = seen_maps()
    for site in maps:
        site.quantizer.watched = None
    with pytest.warns(SecateurWarning, match="train it as it is"):
        loss.look(32)


def test_maps_are_watched_once_in_every_steps_alone():
    maps, loss, x = seen_maps()
    loss.look(32)
    assert not any(site.quantizer.watching for site in maps)
    for _ in range(EVERY - 1):
        loss.look(32)
    assert all(site.quantizer.watching for site in maps)
    again = QuantizationLoss((), maps)
    for site in maps:
        site.quantizer.watching = False
    again.load_state_dict(loss.state_dict())
    assert all(site.quantizer.watching for site in maps), "a resumed run watches the same step"
    with torch.no_grad():
        maps[0].quantizer(x)
    assert maps[0].quantizer.watching, "a pass without gradients is not what is waited for"
