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
from secateur.nn.norms import swap
from secateur.nn.norms.distance import norm_distances
from secateur.nn.norms.lagrange_norm import LagrangeNorm, LagrangeNorm1d
from secateur.nn.norms.penalty import norm_penalty
from secateur.nn.norms.swap import swap_norms_
from secateur.nn.pack import pack
from secateur.nn.restore import restore_

SHIFT = torch.tensor(2.0)


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


def with_hook(layer):
    layer.register_forward_hook(lambda _, inputs, output: 2 * output)
    return layer


@pytest.mark.parametrize(
    ("norm", "reason"),
    [
        (nn.GroupNorm(2, 6), "normalizes every example by itself"),
        (nn.BatchNorm2d(6, track_running_stats=False), "no running statistics"),
        (nn.InstanceNorm2d(6, track_running_stats=True), "in training at least"),
        (type("OwnNorm", (nn.BatchNorm2d,), {})(6), "may do more"),
        (with_hook(nn.BatchNorm2d(6)), "it has hooks"),
    ],
    ids=["group", "untracked", "instance", "own", "hooked"],
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
    with pytest.raises(PlanError, match=r"'variances': its options are variance, mode, rho; did you mean 'variance'"):
        swap_norms_(batch_normed(), "lagrange", inputs(1), variances=1.0)
    for wrong in ({"rho": "0.1"}, {"variance": None}, {"variance": True}):
        with pytest.raises(PlanError, match="a number above 0"):
            swap_norms_(batch_normed(), "lagrange", inputs(1), **wrong)
    with pytest.raises(PlanError, match="does not compute with these inputs"):
        swap_norms_(batch_normed(), "lagrange", torch.ones(1, 4, 9, 9))

    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x):
            return self.norm(self.conv(x)) if x.sum() > 0 else x

    with pytest.raises(PlanError, match="tracing the model failed"):
        swap_norms_(Branching(), "lagrange", inputs(1))


def test_what_was_frozen_stays_frozen():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).eval()
    model[1].weight.requires_grad_(False)
    swap_norms_(model, "lagrange", torch.ones(1, 3))
    assert isinstance(model[1], LagrangeNorm1d)
    assert not model[1].weight.requires_grad
    assert model[1].bias.requires_grad
    model = nn.Sequential(nn.Linear(3, 4, bias=False), nn.BatchNorm1d(4, affine=False)).eval()
    model[0].requires_grad_(False)
    swap_norms_(model, "lagrange", torch.ones(1, 3))
    assert [name for name, p in model.named_parameters() if p.requires_grad] == ["1.multipliers"]
    swap_norms_(model, "folded", torch.ones(1, 3))
    assert [name for name, p in model.named_parameters() if p.requires_grad] == []


def test_a_norm_that_was_never_scaled_trains_without_gain_and_shift():
    model = nn.Sequential(nn.Linear(3, 4, bias=False), nn.BatchNorm1d(4, affine=False)).eval()
    swap_norms_(model, "lagrange", torch.ones(1, 3), variance=4.0)
    model.train()
    (model(torch.randn(8, 3)).square().sum() + norm_penalty(model)).backward()
    assert model[0].bias.grad.abs().max() > 0
    assert model[1].weight.grad is None
    assert model[1].weight.tolist() == [0.5] * 4


@pytest.mark.parametrize(
    ("layer", "x"),
    [
        (nn.Linear(3, 4), torch.randn(2, 3)),
        (nn.Conv1d(3, 4, 3), torch.randn(2, 3, 5)),
        (nn.Conv2d(3, 4, 3), torch.randn(2, 3, 5, 5)),
        (nn.Conv3d(3, 4, 3), torch.randn(2, 3, 5, 5, 5)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_synchronized_batch_norms_are_batch_norms(layer, x):
    model = nn.Sequential(layer, seen(nn.SyncBatchNorm(4)))
    before = outputs(model, x)
    (row,) = swap_norms_(model, "lagrange", x)
    torch.testing.assert_close(outputs(model, x), before)
    assert row.after == {2: "LagrangeNorm1d", 3: "LagrangeNorm1d", 4: "LagrangeNorm2d", 5: "LagrangeNorm3d"}[x.dim()]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_types_other_than_float32_round_as_they_can(dtype):
    model = batch_normed().to(dtype)
    x = inputs().to(dtype)
    before = outputs(model, x)
    assert all(row.swapped for row in swap_norms_(model, "lagrange", x))
    limit = torch.finfo(dtype).eps ** 0.5
    torch.testing.assert_close(outputs(model, x), before, rtol=limit, atol=limit * float(before.abs().max()))


def seen(norm):
    """A norm with statistics, as if it had been trained."""
    nn.init.normal_(norm.running_mean)
    nn.init.uniform_(norm.running_var, 0.5, 3.0)
    return norm


class TwoNames(nn.Module):
    """A norm and the layer before it under two names each, as code that takes a backbone apart has them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 8, 3), seen(nn.BatchNorm2d(8))
        self.stem = nn.Sequential(self.conv, self.bn, nn.ReLU())

    def forward(self, x):
        return self.stem(x)


def test_a_norm_is_replaced_under_all_its_names():
    model, x = TwoNames(), inputs()
    before = outputs(model, x)
    (row,) = swap_norms_(model, "lagrange", x)
    torch.testing.assert_close(outputs(model, x), before)
    assert (row.name, row.maker) == ("bn", "conv")
    assert model.stem[1] is model.bn
    assert isinstance(model.bn, LagrangeNorm)


class Overlapping(nn.Module):
    """Weights that lie in another layer's: no name and no call of the code tells."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.good = nn.Conv2d(3, 3, 1, bias=False), seen(nn.BatchNorm2d(3))
        self.a, self.b, self.bad = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 7, 3), seen(nn.BatchNorm2d(8))
        self.b.weight = nn.Parameter(self.a.weight.detach()[1:])

    def forward(self, x):
        x = self.good(self.first(x))
        return self.bad(self.a(x))[:, :7] + self.b(x)


def state_of(model):
    """Which objects a model is made of, and the numbers of its tensors."""
    kept = [*model.modules(), *model.parameters(), *model.buffers()]
    return [id(one) for one in kept], {name: value.clone() for name, value in model.state_dict().items()}


def same(model, state):
    found, wanted = state_of(model), state
    return found[0] == wanted[0] and all(torch.equal(found[1][name], value) for name, value in wanted[1].items())


def test_other_outputs_are_refused_with_the_name_and_the_model_is_as_it_was():
    model = Overlapping().eval()
    before = state_of(model)
    with pytest.raises(PlanError, match=r"with bad swapped the outputs .* or a, whose weights"):
        swap_norms_(model, "lagrange", inputs(1))
    assert same(model, before)
    assert model.first.bias is None


def test_an_error_on_the_way_leaves_the_model_as_it_was(monkeypatch):
    model = batch_normed()
    before, calls, real = state_of(model), [], swap.normalise_maker_

    def failing(*given):
        calls.append(given)
        if len(calls) > 2:
            raise MemoryError
        real(*given)

    monkeypatch.setattr(swap, "normalise_maker_", failing)
    with pytest.raises(MemoryError):
        swap_norms_(model, "lagrange", inputs(1))
    assert same(model, before)
    assert model[0].bias is None


def test_a_tensor_as_a_default_does_not_hinder():
    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = batch_normed()

        def forward(self, x, shift=SHIFT):
            return self.body(x) + shift

    model = Shifted()
    before = outputs(model)
    assert all(row.swapped for row in swap_norms_(model, "lagrange", inputs(1)))
    torch.testing.assert_close(outputs(model), before)
