"""nn.norms.swap and sites: batch norms become LagrangeNorm and go into weights; evaluation stays the same."""

import pytest
import torch
from norm_nets import batch_normed, inputs
from torch import nn

from secateur.bridge.accelerate import accelerate
from secateur.bridge.recognising import foldable_norms
from secateur.bridge.tracing import traced
from secateur.errors import PlanError
from secateur.ir.execute import interpret
from secateur.nn.norms.distance import norm_distances
from secateur.nn.norms.lagrange_norm import LagrangeNorm, LagrangeNorm1d
from secateur.nn.norms.swap import swap_norms_
from secateur.nn.pack import pack
from secateur.nn.restore import restore_


def outputs(model, x=None):
    with torch.no_grad():
        return model.eval()(inputs() if x is None else x)


@pytest.mark.parametrize("options", [{}, {"variance": 4.0}, {"variance": "trained", "mode": "squared"}], ids=str)
def test_evaluation_stays_the_same(options):
    model = batch_normed()
    before = outputs(model)
    rows = swap_norms_(model, "lagrange", inputs(1), **options)
    torch.testing.assert_close(outputs(model), before)
    assert [(row.name, row.after, row.maker) for row in rows] == [
        ("1", "LagrangeNorm2d", "0"),
        ("3.norm1", "LagrangeNorm2d", "3.conv1"),
        ("3.norm2", "LagrangeNorm2d", "3.conv2"),
        ("7", "LagrangeNorm1d", "6"),
    ]
    assert not any(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in model.modules())
    assert "what it did is now in the weights of 3.conv1" in str(rows)


def test_running_statistics_become_those_of_the_weights():
    model = batch_normed()
    x = torch.cat([inputs(32, seed) for seed in range(40)])
    model.train()
    for part in x.split(32):
        model(part)
    swap_norms_(model, "lagrange", inputs(1), variance=2.0)
    found = norm_distances(model, [(x,)])["1"]
    assert found.wanted.tolist() == [2.0] * 6
    assert max(found.worst) < 0.1


def test_nothing_is_left_of_them_when_folded_packed_or_accelerated():
    model = batch_normed()
    swap_norms_(model, "lagrange", inputs(1))
    before = outputs(model)
    artifact = pack(model, (inputs(1),))
    assert artifact.graph is not None
    assert "batch_norm" not in [node.op for node in artifact.graph.nodes]
    torch.testing.assert_close(torch.from_numpy(interpret(artifact, inputs().numpy())), before, rtol=1e-4, atol=1e-5)
    module = traced(model, (inputs(),), before)
    assert not isinstance(module, str)
    convs = [node for node in module.graph.nodes if str(node.target).rpartition(".")[2] in ("0", "conv1", "conv2")]
    assert [str(norm.target) for _, norm in foldable_norms(module.graph, module, convs)] == ["1", "3.norm1", "3.norm2"]
    torch.testing.assert_close(accelerate(model, (inputs(),))(inputs()), before, rtol=1e-4, atol=1e-5)
    restored = restore_(model, artifact)
    torch.testing.assert_close(outputs(restored), before, rtol=1e-4, atol=1e-5)
    rows = swap_norms_(model, "folded", inputs(1))
    assert {row.after for row in rows} == {"Identity"}
    assert not any(isinstance(module, LagrangeNorm) for module in model.modules())
    torch.testing.assert_close(outputs(model), before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("norm", "reason"),
    [
        (nn.GroupNorm(2, 6), "no constants in evaluation"),
        (nn.BatchNorm2d(6, track_running_stats=False), "no running statistics"),
        (type("OwnNorm", (nn.BatchNorm2d,), {})(6), "may do more"),
    ],
    ids=["group", "untracked", "own"],
)
def test_other_norms_stay_and_say_why(norm, reason):
    model = batch_normed(norm)
    before = outputs(model)
    rows = {row.name: row for row in swap_norms_(model, "lagrange", inputs(1))}
    assert reason in rows["1"].reason
    assert model[1] is norm
    assert rows["7"].swapped
    torch.testing.assert_close(outputs(model), before)


class Odd(nn.Module):
    """Norms that no layer alone stands before."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.shared, self.up = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.ConvTranspose2d(3, 3, 1)
        self.input, self.summed, self.read, self.twice = (nn.BatchNorm2d(3) for _ in range(4))
        self.after_up, self.never, self.good = (nn.BatchNorm2d(3) for _ in range(3))

    def forward(self, x):
        x = self.input(x)
        x = self.summed(x + 1)
        y = self.conv(x)
        x = self.read(y) + y
        x = self.twice(self.twice(x))
        x = self.after_up(self.up(x))
        return self.good(self.shared(x))


def test_where_no_layer_alone_makes_the_input_the_norm_stays():
    model = Odd().eval()
    rows = {row.name: row for row in swap_norms_(model, "lagrange", torch.randn(1, 3, 4, 4))}
    assert rows["good"].maker == "shared"
    for name, words in {
        "input": "not the output of a layer",
        "summed": "not the output of a layer",
        "read": "read by others too",
        "twice": "called more than once",
        "after_up": "ConvTranspose2d",
        "never": "never called",
    }.items():
        assert words in rows[name].reason, name


def test_what_is_refused():
    with pytest.raises(PlanError, match="none of lagrange, folded"):
        swap_norms_(batch_normed(), "lagrang", inputs(1))
    with pytest.raises(PlanError, match="the model has no norm"):
        swap_norms_(nn.Sequential(nn.Linear(2, 2)), "lagrange", torch.ones(1, 2))
    model = batch_normed()
    swap_norms_(model, "lagrange", inputs(1))
    with pytest.raises(PlanError, match="takes no options"):
        swap_norms_(model, "folded", inputs(1), rho=1.0)

    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x):
            return self.norm(self.conv(x)) if x.sum() > 0 else x

    with pytest.raises(PlanError, match="tracing the model failed"):
        swap_norms_(Branching(), "lagrange", inputs(1))


def test_frozen_norms_stay_frozen():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).eval()
    model[1].weight.requires_grad_(False)
    swap_norms_(model, "lagrange", torch.ones(1, 3))
    assert isinstance(model[1], LagrangeNorm1d)
    assert not model[1].weight.requires_grad
    assert model[1].bias.requires_grad
