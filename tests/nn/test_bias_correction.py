"""nn.bias_correction: means come out equal, in order, for every kind of layer with a bias."""

import pytest
import torch
from torch import nn

from secateur.errors import DataError
from secateur.nn.bias_correction import correct_biases_


def pair():
    """The same network twice, the second with its weights moved."""
    nets = []
    for _ in range(2):
        torch.manual_seed(0)
        nets.append(
            nn.Sequential(
                nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 3, bias=False), nn.BatchNorm2d(3),
                nn.Flatten(), nn.Linear(48, 5), nn.ReLU(), nn.Linear(5, 2, bias=False),
            ).eval()
        )  # fmt: skip
    with torch.no_grad():
        for parameter in nets[1].parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return nets


def inputs(count=2):
    return [(torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(n)),) for n in range(count)]


@torch.no_grad()
def test_every_layer_with_a_bias_gets_the_means():
    fine, coarse = pair()
    told = []
    found = correct_biases_(coarse, fine, inputs(), lambda *event: told.append(event))
    assert list(found) == ["0", "1", "4", "6"], "in the order in which they run, those with a bias"
    assert all(size > 0 for size in found.values())
    assert told[0] == (0, 4, "0")
    assert told[-1] == (4, 4, "")
    for stage in (1, 2, 5, 7):
        axes = (0, 2, 3) if stage < 6 else (0,)
        given, wanted = (torch.cat([net[:stage](*batch) for batch in inputs()]).mean(axes) for net in (coarse, fine))
        torch.testing.assert_close(given, wanted, atol=1e-5, rtol=1e-5)
    again = correct_biases_(coarse, fine, inputs(), lambda *_: None)
    assert max(again.values()) < 1e-5


@torch.no_grad()
def test_weights_stay_and_so_does_the_other_network():
    fine, coarse = pair()
    before = [{k: v.clone() for k, v in net.state_dict().items()} for net in (fine, coarse)]
    correct_biases_(coarse, fine, inputs(), lambda *_: None)
    assert all(torch.equal(v, before[0][k]) for k, v in fine.state_dict().items())
    moved = [k for k, v in coarse.state_dict().items() if not torch.equal(v, before[1][k])]
    assert moved == ["0.bias", "1.bias", "4.bias", "6.bias"]


@torch.no_grad()
def test_a_layer_that_runs_twice_has_one_mean():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x):
            return self.layer(self.layer(x))

    fine, coarse = Twice(), Twice()
    coarse.layer.weight.copy_(fine.layer.weight)
    coarse.layer.bias.copy_(fine.layer.bias)
    assert correct_biases_(coarse, fine, [(torch.ones(2, 3),)], lambda *_: None) == {"layer": 0.0}


@torch.no_grad()
def test_what_is_not_finite_is_refused():
    fine, coarse = pair()
    coarse[0].weight.fill_(float("nan"))
    with pytest.raises(DataError, match="NaN"):
        correct_biases_(coarse, fine, inputs(), lambda *_: None)
