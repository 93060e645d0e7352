"""nn.planning and nn.sites: every tensor gets a row, every kept one a reason, MACs are counted by running the model."""

import pytest
import torch
from torch import nn

from prepared import EXAMPLE, Tied, small_net
from secateur.errors import PlanError
from secateur.ir.plan import Plan, Prune
from secateur.nn.planning import plan


def test_every_parameter_has_a_row_and_every_kept_one_a_reason():
    model = small_net()
    rows = plan(model, EXAMPLE, prune=Prune())
    assert list(rows.names()) == [name for name, _ in model.named_parameters()]
    assert [row.name for row in rows.pruned] == ["0.weight", "4.weight", "6.weight"]
    assert all(row.reason for row in rows if row.prune is None)


def test_macs_are_those_of_the_shapes():
    rows = plan(small_net(), EXAMPLE, prune=Prune())
    assert rows["0.weight"].macs == 6 * 6 * 4 * 9
    assert rows["4.weight"].macs == 36 * 16


def test_example_of_any_batch_gives_the_same_plan():
    assert plan(small_net(), EXAMPLE[:1], prune=Prune()) == plan(small_net(), EXAMPLE, prune=Prune())


def test_planning_leaves_the_model_alone():
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(), small_net().eval())
    model.train()
    model[2].eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    plan(model, EXAMPLE, prune=Prune())
    assert model.training
    assert not model[2].training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_skip_by_module_name_or_pattern():
    rows = plan(small_net(), EXAMPLE, prune=Prune(), skip=("0", "6.weight"))
    assert [row.name for row in rows.pruned] == ["4.weight"]
    assert plan(small_net(), EXAMPLE, prune=Prune(), skip=("*",)).pruned == ()


def test_skipping_what_is_not_there_raises():
    with pytest.raises(PlanError, match="did you mean"):
        plan(small_net(), EXAMPLE, prune=Prune(), skip=("6.wieght",))


def test_other_module_types_are_kept_and_listed():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(4, 5, batch_first=True)
            self.norm = nn.LayerNorm(5)
            self.up = nn.ConvTranspose1d(5, 2, 3)
            self.scale = nn.Parameter(torch.ones(2, 2))

        def forward(self, x):
            y, _ = self.lstm(x)
            return self.up(self.norm(y).transpose(1, 2)) * self.scale.sum()

    rows = plan(Mixed(), torch.randn(2, 3, 4), prune=Prune())
    assert rows.pruned == ()
    assert rows["lstm.weight_ih_l0"].reason == "LSTM.weight_ih_l0 has no pruning rule"
    assert rows["up.weight"].kind == "ConvTranspose1d"
    assert rows["scale"].kind == "Mixed"


def test_attention_counts_its_projections():
    encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
    for mode in (encoder.train(), encoder.eval()):
        rows = plan(mode, torch.randn(3, 5, 8), prune=Prune())
        assert rows["self_attn.in_proj_weight"].reuse == 5
        assert rows["self_attn.out_proj.weight"].reuse == 5
        assert rows["linear1.weight"].macs == 5 * 8 * 16


def test_a_shared_module_counts_twice_and_has_one_row():
    layer = nn.Linear(4, 4)
    rows = plan(nn.Sequential(layer, nn.ReLU(), layer), torch.randn(1, 4), prune=Prune())
    assert [row.name for row in rows.pruned] == ["0.weight"]
    assert rows["0.weight"].reuse == 2


def test_tied_weights_are_one_row_with_all_ends():
    row = plan(Tied(), torch.tensor([[1, 2]]), prune=Prune())["head.weight"]
    assert row.name == "embed.weight"
    assert row.tied == ("head.weight",)
    assert row.prune is not None
    assert row.reuse == 2


def test_a_tie_to_something_that_cannot_be_transformed_is_kept_with_the_reason():
    model = nn.ModuleDict({"head": nn.Linear(4, 4), "other": nn.Bilinear(4, 1, 4)})
    model["other"].weight = model["head"].weight

    class Run(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = model

        def forward(self, x):
            return self.parts["head"](x)

    rows = plan(Run(), torch.randn(1, 4), prune=Prune())
    assert "tied to parts.other.weight of Bilinear" in rows["parts.head.weight"].reason
    with pytest.raises(PlanError, match="cannot be pruned: tied"):
        rows.replace("parts.head.weight", prune=Prune())


def test_a_weight_already_parametrized_is_kept_under_its_own_name():
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), nn.Linear(4, 2))
    rows = plan(model, torch.randn(1, 4), prune=Prune())
    assert [row.name for row in rows.pruned] == ["1.weight"]
    assert "0.parametrizations.weight.original1" in rows.names()


def test_a_lazy_module_is_refused():
    with pytest.raises(PlanError, match="run the model once"):
        plan(nn.LazyLinear(3), torch.randn(1, 4), prune=Prune())


def test_without_a_rule_nothing_is_pruned():
    assert plan(small_net(), EXAMPLE).pruned == ()
    assert isinstance(plan(small_net(), EXAMPLE), Plan)
