"""nn.copying: models whose modules hold results of autograd are copied, and stay what they are."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from secateur.errors import PlanError
from secateur.nn.copying import copied

pytestmark = pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning")
X = torch.randn(3, 5, 6, generator=torch.Generator().manual_seed(0))


def recurrent():
    return parametrizations.weight_norm(nn.GRU(6, 4, batch_first=True), "weight_hh_l0")


HOLDERS = {
    "prune": lambda: prune.l1_unstructured(nn.Linear(6, 4), "weight", amount=0.5),
    "weight_norm": lambda: weight_norm(nn.Linear(6, 4)),
    "spectral_norm": lambda: spectral_norm(nn.Linear(6, 4)),
    "old weight_norm of a recurrent layer": lambda: weight_norm(nn.GRU(6, 4, batch_first=True), "weight_hh_l0"),
    "parametrized recurrent layer": recurrent,
}


def first(outputs):
    return outputs[0] if isinstance(outputs, tuple) else outputs


@pytest.mark.parametrize("name", HOLDERS)
def test_a_copy_computes_the_same_and_the_model_keeps_what_it_holds(name):
    torch.manual_seed(0)
    model = nn.Sequential(HOLDERS[name]())
    loss = first(model(X)).square().sum()
    with pytest.raises(RuntimeError, match="deepcopy protocol"):
        copy.deepcopy(model)
    held = {key: value for key, value in vars(model[0]).items() if isinstance(value, torch.Tensor)}
    twin = copied(model)
    assert all(vars(model[0])[key] is value and value.grad_fn is not None for key, value in held.items())
    assert all(vars(twin[0])[key].grad_fn is None for key in held)
    assert torch.equal(first(twin.eval()(X)), first(model.eval()(X)))
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert all(parameter.grad is None for parameter in twin.parameters())


@pytest.mark.parametrize("name", HOLDERS)
def test_a_copy_trains_on_its_own(name):
    model = HOLDERS[name]()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    first(model(X)).sum().backward()
    twin = copied(model)
    first(twin(X)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in twin.parameters())
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1)
    known = [key for key, _ in model.named_parameters()]
    assert all(torch.equal(model.state_dict()[key], before[key]) for key in known)
    assert not torch.equal(first(twin.eval()(X)), first(model.eval()(X)))


@pytest.mark.parametrize(
    "keep",
    [
        lambda layer: setattr(layer, "kept", layer.weight * 2),
        lambda layer: setattr(layer, "kept", layer.weight.t()),
        lambda layer: setattr(layer, "kept", {"one": [layer.weight * 2], "two": 3}),
    ],
)
def test_what_no_forward_pass_sets_anew_would_not_follow_and_is_refused(keep):
    """A copy of it would go on computing with the numbers of now, whatever becomes of the parameters."""
    model = nn.Sequential(nn.Linear(2, 2))
    keep(model[0])
    with pytest.raises(PlanError, match=r"0\.kept is what autograd has computed.*in forward"):
        copied(model)


def test_a_list_may_hold_itself():
    model = nn.Linear(2, 2)
    model.held = [3]
    model.held.append(model.held)
    twin = copied(model)
    assert twin.held[1] is twin.held is not model.held


def test_numbers_of_a_copy_are_its_own():
    model = prune.l1_unstructured(nn.Linear(6, 4), "weight", amount=0.5)
    twin = copied(model)
    with torch.no_grad():
        model.weight.zero_()
    assert twin.weight.any()


def test_results_inside_other_objects_are_refused_with_a_way_out():
    class Holder:
        def __init__(self, held):
            self.held = held

    model = nn.Linear(2, 2)
    model.holder = Holder(model.weight * 2)
    with pytest.raises(PlanError, match=r"Linear cannot be copied.*in forward"):
        copied(model)


def test_other_errors_of_copying_stay_what_they_are():
    class Refusing:
        def __deepcopy__(self, memo):
            raise RuntimeError("not this one")

    model = nn.Linear(2, 2)
    model.other = Refusing()
    with pytest.raises(RuntimeError, match="not this one"):
        copied(model)
