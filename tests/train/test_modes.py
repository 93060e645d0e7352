"""train.modes: what was frozen stays so, and norms are packed as they were trained."""

import pytest
import torch
from torch import nn

from secateur.errors import DataError
from secateur.ir.rules import Prune, Quantize
from secateur.ir.target import Target
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_
from secateur.train.fit import fit
from secateur.train.modes import begin_statistics_, frozen, refuse_frozen, train_
from secateur.train.schedule import Schedule
from secateur.train.task import Task, accuracy


def network(momentum):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, momentum=momentum), nn.Dropout(0.5), nn.Linear(4, 2))


def test_a_model_in_evaluation_mode_trains_all_of_it():
    model = network(0.1).eval()
    train_(model)
    assert all(module.training for module in model.modules())
    assert frozen(model) == {}


def test_modules_that_a_training_model_has_in_evaluation_mode_stay_there():
    model = nn.Sequential(network(0.1).eval(), nn.Linear(2, 2))
    train_(model)
    assert model.training
    assert model[1].training
    assert not any(module.training for module in model[0].modules())
    assert list(frozen(model)) == ["0"]


@pytest.mark.parametrize("evaluating", [True, False])
def test_a_norm_of_momentum_0_trains_with_the_statistics_it_will_be_packed_with(evaluating):
    model = network(0.0).train(not evaluating)
    model[2].p = 0.0
    x = 3 + 2 * torch.randn(50, 3)
    train_(model)
    trained = model(x)
    assert torch.equal(trained, model.eval()(x))
    assert list(frozen(model)) == ["1"]


def test_a_norm_without_statistics_has_nothing_to_keep():
    model = nn.BatchNorm1d(4, momentum=0.0, track_running_stats=False)
    assert frozen(model) == {}


def test_an_average_over_all_batches_begins_anew():
    norm = nn.BatchNorm1d(2, momentum=None)
    norm(torch.randn(500, 2))
    norm.num_batches_tracked.fill_(10_000)
    begin_statistics_(norm)
    x = 5 + torch.randn(100, 2)
    norm(x)
    assert torch.allclose(norm.running_mean, x.mean(0), atol=1e-4)
    usual = nn.BatchNorm1d(2)
    usual(x)
    begin_statistics_(usual)
    assert int(usual.num_batches_tracked) == 1


def test_the_loop_lets_them_be():
    torch.manual_seed(0)
    average = nn.BatchNorm1d(2, momentum=None)
    average.num_batches_tracked.fill_(10_000)
    model = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8, momentum=0.0), nn.ReLU(), nn.Linear(8, 2), average)
    x = torch.randn(40, 2)
    prepare_(model, plan(model, x, prune=Prune()))
    batches = [(x, (x[:, 0] > 0).long())]
    task = Task(model, x[:2], batches, batches, nn.functional.cross_entropy, accuracy)
    before = model[1].running_mean.clone()
    fit(task, Target(density=0.5), schedule=Schedule(2, 1))
    assert torch.equal(model[1].running_mean, before)
    assert int(average.num_batches_tracked) == 1


def test_a_model_of_which_nothing_trains_is_told_and_epochs_of_it_are_refused():
    x, y = torch.randn(6, 3), torch.randint(0, 2, (6,))
    model = network(0.1).requires_grad_(False)
    with pytest.raises(DataError, match="every parameter of the model is frozen"):
        refuse_frozen(model)
    quantize = Quantize(bits=(2, 8))
    prepare_(model, plan(model, x, prune=Prune(), quantize=quantize, maps=quantize))
    assert any(parameter.requires_grad for parameter in model.parameters())  # thresholds, widths and ranges
    task = Task(model, x, [(x, y)], [(x, y)], nn.functional.cross_entropy, accuracy)
    with pytest.raises(DataError, match="every parameter of the model is frozen"):
        fit(task, Target(density=0.5), schedule=Schedule(1, 1))
    model[3].bias.requires_grad_(True)
    refuse_frozen(model)
