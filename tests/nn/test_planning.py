"""nn.planning and nn.sites: every tensor gets a row, every kept one a reason, MACs are counted by running the model."""

import warnings

import pytest
import torch
from torch import nn

from prepared import EXAMPLE, Tied, small_net
from secateur.errors import DataError, PlanError
from secateur.ir.count import count
from secateur.ir.plan import Plan
from secateur.ir.rules import Prune, Quantize
from secateur.nn.pack import pack
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_


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


@pytest.mark.parametrize("given", [{"prune": 0.5}, {"quantize": 8}, {"maps": 8}])
def test_what_is_no_rule_is_refused(given):
    with pytest.raises(PlanError, match=f"{next(iter(given))}=.* is no rule: give"):
        plan(small_net(), EXAMPLE, **given)


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
            self.norm = nn.LayerNorm(5)
            self.bag = nn.EmbeddingBag(7, 5)
            self.pair = nn.Bilinear(5, 5, 2)
            self.scale = nn.Parameter(torch.ones(2, 2))

        def forward(self, ids):
            y = self.norm(self.bag(ids))
            return self.pair(y, y) * self.scale.sum()

    rows = plan(Mixed(), torch.randint(7, (2, 3)), prune=Prune())
    assert [row.name for row in rows.pruned] == ["bag.weight"]
    assert rows["pair.weight"].reason == "Bilinear.weight has no pruning rule"
    assert rows["pair.weight"].kind == "Bilinear"
    assert rows["scale"].kind == "Mixed"


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("prepare", [False, True])
def test_a_recurrent_weight_multiplies_once_a_time_step(kind, prepare):
    model = kind(4, 5, num_layers=2, bidirectional=True, batch_first=True)
    example = torch.randn(3, 7, 4)
    rows = plan(model, example, prune=Prune())
    assert [row.name for row in rows.pruned] == [name for name in model._flat_weights_names if "weight" in name]
    assert {row.reuse for row in rows.pruned} == {7}
    if prepare:
        prepare_(model, rows)
        assert {row.reuse for row in plan(model, example)} == {0, 7}


def test_steps_of_packed_sequences_count_as_they_are():
    class Packing(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = nn.GRU(2, 3, batch_first=True)

        def forward(self, x):
            return self.gru(nn.utils.rnn.pack_padded_sequence(x, torch.tensor([5, 3]), batch_first=True))[1]

    assert plan(Packing(), torch.randn(2, 5, 2), prune=Prune())["gru.weight_hh_l0"].reuse == (5 + 3) // 2


def test_cells_count_every_call():
    class Unrolled(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = nn.LSTMCell(2, 3)

        def forward(self, x):
            state = None
            for step in range(4):
                state = self.cell(input=x[:, step], hx=state)
            return state

    rows = plan(Unrolled(), torch.randn(2, 4, 2), prune=Prune())
    assert [(row.name, row.reuse) for row in rows.pruned] == [("cell.weight_ih", 4), ("cell.weight_hh", 4)]


def test_a_transposed_convolution_multiplies_at_every_input():
    rows = plan(nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), torch.randn(2, 4, 5, 7), prune=Prune())
    assert rows["weight"].macs == 5 * 7 * 4 * 3 * 9


def test_macs_agree_with_those_of_the_graph():
    model = nn.Sequential(nn.ConvTranspose1d(2, 4, 3, stride=2), nn.Conv1d(4, 3, 2))
    example = torch.randn(2, 2, 6)
    artifact = pack(model, example)
    assert artifact.graph is not None
    total = count(artifact.graph, artifact.constants).macs
    assert sum(row.macs for row in plan(model, example, prune=Prune())) == total


def test_an_embedding_multiplies_nothing():
    for kind in (nn.Embedding, nn.EmbeddingBag):
        rows = plan(kind(5, 3), torch.tensor([[1, 2]]), prune=Prune())
        assert (rows["weight"].reuse, rows["weight"].reason) == (0, "")


@pytest.mark.parametrize(("options", "message"), [({"sparse": True}, "sparse"), ({"max_norm": 1.0}, "max_norm")])
def test_embeddings_that_change_their_weight_themselves_are_kept(options, message):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(5, 3, **options)
            self.head = nn.Linear(3, 5, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, ids):
            return self.head(self.embed(ids))

    for model in (nn.Embedding(5, 3, **options), nn.EmbeddingBag(5, 3, **options), Tied()):
        (row,) = plan(model, torch.tensor([[1, 2]]), prune=Prune())
        assert row.prune is None
        assert row.reason.startswith(message)


def test_a_frozen_embedding_is_kept_unless_it_is_tied_to_a_layer():
    for kind in (nn.Embedding, nn.EmbeddingBag):
        (row,) = plan(kind.from_pretrained(torch.randn(7, 4)), torch.tensor([[1, 2]]), prune=Prune())
        assert row.prune is None
        assert row.reason.startswith("a frozen table")
    tied = Tied()
    tied.embed.weight.requires_grad_(False)
    assert plan(tied, torch.tensor([[1, 2]]), prune=Prune())["embed.weight"].prune is not None


def test_a_layer_that_is_frozen_while_others_train_is_kept():
    model = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))
    model[0].requires_grad_(False)
    rows = plan(model, torch.randn(1, 8), prune=Prune(), quantize=Quantize(bits=4))
    assert [row.name for row in rows.changed] == ["2.weight"]
    assert rows["0.weight"].reason.startswith("frozen, while other parameters of the model train: requires_grad_()")
    for rule in ({"prune": Prune()}, {"quantize": Quantize(bits=4)}):
        with pytest.raises(PlanError, match=r"0\.weight cannot be .*: frozen, while"):
            prepare_(model, rows.replace("0.weight", **rule))
    model[0].requires_grad_(True)
    assert len(plan(model, torch.randn(1, 8), prune=Prune()).pruned) == 2


def test_in_a_model_whose_every_parameter_is_frozen_nobody_chose_layers():
    model = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)).requires_grad_(False)
    rows = plan(model, torch.randn(1, 8), prune=Prune())
    assert [row.name for row in rows.pruned] == ["0.weight", "2.weight"]
    assert prepare_(model, rows) is model


def test_a_threshold_a_channel_needs_channels_on_one_axis():
    model = nn.Sequential(nn.ConvTranspose1d(4, 6, 3, groups=2), nn.ConvTranspose1d(6, 6, 3, groups=6))
    rows = plan(model, torch.randn(1, 4, 5), prune=Prune(granularity="channel"))
    assert [row.name for row in rows.pruned] == ["1.weight"]
    assert rows["0.weight"].reason == 'its output channels lie on no single axis: only granularity "tensor" fits'
    with pytest.raises(PlanError, match=r"0\.weight cannot be pruned: its output channels"):
        prepare_(model, rows.replace("0.weight", prune=Prune(granularity="channel")))
    assert plan(model, torch.randn(1, 4, 5), prune=Prune())["0.weight"].prune is not None


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


def test_layers_without_elements_are_kept():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's: there is nothing to initialize
        model = nn.Sequential(nn.Linear(8, 0), nn.ReLU(), nn.Linear(0, 3), nn.Linear(3, 2))
    found = {row.name: row for row in plan(model, torch.zeros(2, 8), prune=Prune())}
    assert [found[name].reason for name in ("0.weight", "2.weight", "3.weight")] == ["it has no elements"] * 2 + [""]
    assert [row.name for row in Plan(tuple(found.values())).pruned] == ["3.weight"]


def test_examples_come_as_tensor_tuple_or_list_and_with_a_batch():
    whole = plan(small_net(), EXAMPLE, prune=Prune())
    assert plan(small_net(), [EXAMPLE], prune=Prune()) == whole
    for example, message in (
        ("x", "must be a tensor"),
        ((), "must be a tensor"),
        (torch.tensor(1.0), "its batch"),
        (EXAMPLE[:0], "its batch"),
    ):
        with pytest.raises(DataError, match=message):
            plan(small_net(), example)
