"""nn.norms.evaluation: two evaluations give the same, and nothing of the model or its inputs changes."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from secateur.errors import PlanError
from secateur.nn.fx_graph import difference
from secateur.nn.norms.evaluation import evaluated, rounding


class Restless(nn.Module):
    """Changes its input, and draws numbers in evaluation too."""

    def forward(self, x):
        x.sub_(1)
        return x + torch.rand_like(x)


def test_noise_and_changed_inputs_are_the_same_every_time():
    model, x = nn.Sequential(Restless(), nn.Dropout()), torch.ones(2, 3)
    model[1].eval()
    generator = torch.get_rng_state()
    assert torch.equal(evaluated(model, (x,)), evaluated(model, (x,)))
    assert torch.equal(x, torch.ones(2, 3))
    assert torch.equal(torch.get_rng_state(), generator)
    assert [module.training for module in model] == [True, False]


def test_a_model_that_fails_keeps_its_mode():
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout())
    with pytest.raises(PlanError, match="does not compute with these inputs"):
        evaluated(model, (torch.ones(2, 4),))
    assert all(module.training for module in model.modules())


@dataclass
class Outputs:
    logits: Tensor
    hidden: Tensor


def test_every_tensor_counts_on_its_own_scale():
    one, other = Outputs(torch.ones(2), torch.full((2,), 1e-3)), Outputs(torch.ones(2), torch.tensor([1e-3, 2e-3]))
    assert difference(one, one) == 0
    assert difference(one, other) == pytest.approx(1)
    assert difference((torch.ones(2),), [torch.ones(2)]) == float("inf")


@pytest.mark.parametrize(
    ("dtype", "limit"), [(torch.float32, 3.5e-4), (torch.bfloat16, 8.9e-2), (torch.float64, 1.5e-8)]
)
def test_the_coarsest_precision_counts(dtype, limit):
    model = nn.Linear(2, 2, dtype=torch.float64)
    assert rounding(model, {"y": torch.ones(2, dtype=dtype), "n": 1}) == pytest.approx(limit, rel=0.02)
