"""nn.strip: a plain module again, equal bit for bit."""

import copy

import pytest
import torch
from torch import nn

from prepared import EXAMPLE, Tied, prepared, small_net
from secateur.errors import PlanError
from secateur.ir.rules import Prune
from secateur.ir.target import Target
from secateur.nn.harden import harden_
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_
from secateur.nn.strip import strip_
from secateur.nn.transform import transforms_of


@pytest.mark.parametrize("harden", [True, False])
def test_outputs_are_equal_bit_for_bit_and_keys_are_the_original_ones(harden):
    model = prepared()
    if harden:
        harden_(model, Target(density=0.2))
    before = model(EXAMPLE)
    strip_(model)
    assert torch.equal(model(EXAMPLE), before)
    assert list(model.state_dict()) == list(small_net().state_dict())
    assert all(type(m) is type(n) for m, n in zip(model.modules(), small_net().modules(), strict=True))


def test_the_parameter_objects_survive():
    model = small_net()
    before = dict(model.named_parameters())
    strip_(prepare_(model, plan(model, EXAMPLE, prune=Prune())))
    assert all(before[name] is parameter for name, parameter in model.named_parameters())


def test_tied_weights_stay_tied():
    model = Tied()
    prepare_(model, plan(model, torch.tensor([[1, 2]]), prune=Prune(start=1.0)))
    before = model(torch.tensor([[1, 2]]))
    strip_(model)
    assert model.embed.weight is model.head.weight
    assert torch.equal(model(torch.tensor([[1, 2]])), before)


def test_attention_keys_keep_their_order():
    encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    keys = list(encoder.state_dict())
    strip_(prepare_(encoder, plan(encoder, torch.randn(1, 3, 8), prune=Prune())))
    assert list(encoder.state_dict()) == keys


def test_a_model_never_prepared_is_returned_as_it_is():
    model = small_net()
    assert strip_(model) is model


def test_a_copy_can_be_stripped_without_touching_the_original():
    model = prepared()
    model(EXAMPLE).sum().backward()
    strip_(copy.deepcopy(model))
    assert len(transforms_of(model)) == 3


def test_a_further_parametrization_on_top_is_refused():
    model = prepared()

    class Double(nn.Module):
        def forward(self, w):
            return 2 * w

    nn.utils.parametrize.register_parametrization(model[4], "weight", Double())
    with pytest.raises(PlanError, match=r"4\.weight has a further parametrization"):
        strip_(model)
    assert len(transforms_of(model)) == 3
