"""nn.transform: one transform a weight, evaluated once a step."""

import copy

import torch
from torch import nn

from prepared import EXAMPLE, prepared, quantized
from secateur.ir.rules import Quantize
from secateur.ir.target import Target
from secateur.nn.harden import harden_
from secateur.nn.transform import PRUNING, QUANTIZING, all_ends, transforms_of


def test_a_module_used_twice_is_listed_once():
    model = prepared()
    assert len(transforms_of(nn.Sequential(model, model))) == 3


def test_ends_know_their_tensor():
    for path, module, tensor, transform in all_ends(prepared()):
        assert f"{path}.{tensor}" == transform.row.name
        assert getattr(module, tensor).shape == transform.row.shape


def test_stages_stand_in_the_state_dict_by_name():
    keys = [key for key in prepared().state_dict() if key.startswith("4.parametrizations")]
    assert "4.parametrizations.weight.0.stages.prune.alpha_raw" in keys


def test_the_count_of_a_forward_is_the_count_of_the_stage():
    model = prepared()
    model(EXAMPLE)
    for site in transforms_of(model):
        torch.testing.assert_close(site.count(), site.transform.prune.soft(site.original)[1])


def test_no_count_is_kept_without_gradients():
    model = prepared()
    with torch.no_grad():
        model(EXAMPLE)
    assert all(site.transform._soft is None for site in transforms_of(model))
    assert all(site.count().requires_grad for site in transforms_of(model))


def test_a_copy_carries_no_graph():
    model = prepared()
    model(EXAMPLE)
    assert all(site.transform._soft is None for site in transforms_of(copy.deepcopy(model)))


def test_every_method_of_a_plan_has_its_stage():
    from secateur.ir.rules import LEVELS, METHODS

    assert set(PRUNING) == set(METHODS)
    assert set(QUANTIZING) == set(LEVELS)


def test_quantizing_comes_after_pruning_and_takes_what_it_gives():
    model = prepared(quantize=Quantize(4))
    for site in transforms_of(model):
        transform, w = site.transform, site.original
        assert list(transform.stages) == ["prune", "quantize"]
        assert torch.equal(transform(w), transform.prune(w)), "off at first"
        transform.quantize.start(transform.survivors(w))
        mask = w.abs() > transform.prune.alpha()
        found = transform(w)
        assert torch.equal(found != 0, mask), "the hard mask forward"
        torch.testing.assert_close(found, transform.quantize(torch.where(mask, w, 0.0)))
        found.sum().backward()
        assert transform.prune.alpha_raw.grad.any(), "the derivative of the soft gate backward"
        assert (w.grad[~mask] != 0).all()


def test_quantizing_alone_is_on_at_once_and_counts_what_is_there():
    model = quantized(Quantize(4))
    for site in transforms_of(model):
        assert not site.transform.prunes
        assert site.transform.quantize.is_on
        assert int(site.count()) == site.original.numel()
        assert len(site.transform(site.original).unique()) <= 14


def test_soft_transforms_have_no_grid_and_hard_ones_do():
    model = prepared(quantize=Quantize({3, 5}))
    assert all(site.transform.grid() is None for site in transforms_of(model))
    harden_(model, Target(density=0.5))
    assert all(site.transform.grid().bits in (3, 5) for site in transforms_of(model))
    unquantized = prepared()
    harden_(unquantized)
    assert all(site.transform.grid() is None for site in transforms_of(unquantized))


def test_a_weight_in_channels_last_stays_in_it():
    for rule in (Quantize((2, 8)), Quantize(4, granularity="channel")):
        model = prepared(quantize=rule)
        plain = transforms_of(model)[0]
        w = plain.original.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
        plain.transform.quantize.start(plain.transform.survivors(w))
        found = plain.transform(w)
        assert found.stride() == w.stride()
        torch.testing.assert_close(found, plain.transform(plain.original))
