"""train.average: the mean it says, the model's own weights back bit for bit, and going on from a state."""

import pytest
import torch
from torch import nn

from secateur.errors import TrainingError
from secateur.train.average import Average


def test_it_is_the_mean_with_a_decay_that_grows():
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(0.0)
    average = Average(model, 0.9)
    expected = 0.0
    for step in range(1, 200):
        model.weight.data.fill_(float(step))
        average.step()
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    with average.used():
        torch.testing.assert_close(model.weight.data, torch.full((1, 1), expected))
    assert model.weight.item() == 199


def test_norm_statistics_are_averaged_and_counters_left_alone():
    model = nn.BatchNorm1d(2)
    average = Average(model, 0.5)
    model(torch.randn(8, 2) + 5)
    own = model.running_mean.clone()
    average.step()
    with average.used():
        assert not torch.equal(model.running_mean, own)
        assert int(model.num_batches_tracked) == 1
    assert torch.equal(model.running_mean, own)


def test_a_state_goes_on():
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    average = Average(first, 0.9)
    average.step()
    other = Average(second, 0.9)
    other.load_state_dict(average.state_dict())
    other.use_()
    average.use_()
    assert torch.equal(first.weight, second.weight)
    assert other.state_dict()["steps"] == 1


def test_the_state_of_another_model_is_refused_and_changes_nothing():
    average = Average(nn.Linear(2, 2), 0.9)
    before = average.state_dict()
    # The first tensor would fit: only looking at all of them beforehand leaves it alone.
    for other in (nn.Linear(2, 2, bias=False), nn.Linear(2, 3)):
        with pytest.raises(TrainingError, match="another model"):
            average.load_state_dict(Average(other, 0.9).state_dict())
    assert all(torch.equal(a, b) for a, b in zip(average.state_dict()["mean"], before["mean"], strict=True))
