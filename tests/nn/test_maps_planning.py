"""nn.maps.planning: what a plan of maps refuses, and that planning changes nothing."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from map_nets import Branching, Vgg
from secateur.errors import DataError, PlanError
from secateur.ir.rules import Quantize
from secateur.nn.maps.planning import plan_maps
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_

X = torch.randn(2, 3, 8, 8)


def test_planning_leaves_modes_statistics_and_random_numbers_alone():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)
            self.register_buffer("mean", torch.zeros(4))

        def forward(self, x):
            if self.training:
                self.mean.mul_(0.9).add_(x.detach().mean(0), alpha=0.1)
            return F.dropout(self.fc(x - self.mean), 0.5, self.training)

    for model, x in ((Vgg(), X), (Own(), torch.randn(3, 4))):
        model.train()
        before = {key: value.clone() for key, value in model.state_dict().items()}
        torch.manual_seed(3)
        expected = torch.rand(1)
        torch.manual_seed(3)
        plan_maps(model, x, Quantize())
        assert torch.equal(torch.rand(1), expected)
        assert model.training
        assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_models_that_cannot_be_traced_are_planned_without_maps():
    with pytest.raises(PlanError, match=r"Branching cannot be quantized.*leave out maps="):
        plan(Branching(), X, maps=Quantize())
    assert plan(Branching(), X).maps == ()


class Auxiliary(nn.Module):
    """A further output in training, before or behind the first."""

    def __init__(self, before):
        super().__init__()
        self.fc, self.aux, self.before = nn.Linear(4, 4), nn.Linear(4, 4), before

    def forward(self, x):
        y = torch.relu(self.fc(x))
        if not self.training:
            return self.fc(torch.relu(y * 2))
        aux = self.aux(torch.relu(self.fc(y)[:, :2]).repeat(1, 2)) if self.before else None
        result = self.fc(torch.relu(y * 2))
        return result, self.aux(torch.tanh(y)) if aux is None else aux


def test_what_training_alone_computes_has_no_quantizer_of_its_own():
    x = torch.randn(2, 4)
    rows = plan(Auxiliary(before=False), x, maps=Quantize())
    assert [row.name for row in rows.quantized_maps] == ["x", "relu_1"]
    model = prepare_(Auxiliary(before=False), rows)
    assert len(model.train()(x)) == 2


def test_maps_that_are_others_in_training_are_refused():
    with pytest.raises(PlanError, match=r"'relu_1' is another one in training.*leave out maps="):
        plan(Auxiliary(before=True), torch.randn(2, 4), maps=Quantize())

    class Other(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x):
            y = self.fc(x)
            return self.fc(torch.relu(y) if self.training else torch.tanh(y))

    with pytest.raises(PlanError, match="'tanh' does not exist in training"):
        plan(Other(), torch.randn(2, 4), maps=Quantize())


def test_models_that_change_from_call_to_call_are_refused():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.calls = nn.Linear(4, 4), 0

        def forward(self, x):
            self.calls += 1
            return self.fc(x) * self.calls

    with pytest.raises(PlanError, match="changes from call to call"):
        plan(Counting(), torch.randn(2, 4), maps=Quantize())


def test_rules_and_examples_that_do_not_fit():
    with pytest.raises(PlanError, match="one scale"):
        plan(Vgg(), X, maps=Quantize(granularity="channel"))
    with pytest.raises(DataError):
        plan_maps(Vgg(), [], Quantize())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_models_of_other_dtypes_have_the_same_maps_and_stay_what_they_are(dtype):
    torch.manual_seed(0)
    model, example = Vgg(), torch.randn(2, 3, 32, 32)
    wanted = plan_maps(model, example, Quantize(8))
    assert plan_maps(model.to(dtype), example.to(dtype), Quantize(8)) == wanted
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
