"""nn.transform: one transform a weight, evaluated once a step."""

import copy

import torch
from torch import nn

from prepared import EXAMPLE, prepared
from secateur.nn.transform import STAGES, all_ends, transforms_of


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
    from secateur.ir.plan import METHODS

    assert set(STAGES) == set(METHODS)
