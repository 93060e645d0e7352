"""nn.maps.placement over every kind of network: what is quantized, what stays float and why, signs, shapes, reads."""

import numpy as np
import pytest
import torch
from torch import nn

from map_nets import NETS, settled
from secateur.errors import PlanError, TargetError
from secateur.ir.artifact import Artifact
from secateur.ir.bit_count import count_bits
from secateur.ir.count import count
from secateur.ir.execute import interpret
from secateur.ir.plan import Plan
from secateur.ir.rules import Prune, Quantize
from secateur.ir.target import Target
from secateur.nn.harden import harden_
from secateur.nn.map_sites import maps_of
from secateur.nn.map_widths import refuse_large_floats
from secateur.nn.pack import pack
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_
from secateur.reporting.maps import largest_map_bytes, map_rows


def planned(name: str) -> Plan:
    net = NETS[name]
    return plan(settled(net), net.example(), maps=Quantize((4, 8)))


def named_by_hand(name: str) -> list[str]:
    net, found = NETS[name], []
    net.by_hand(settled(net), net.example(), lambda key, value: found.append(key) or value)
    return found


@pytest.mark.parametrize("name", NETS)
def test_one_quantizer_a_map_that_integers_read_and_a_reason_for_the_rest(name):
    rows = planned(name)
    expected = named_by_hand(name)
    assert len(set(expected)) == len(expected), "one quantizer a map"
    assert {row.name for row in rows.quantized_maps} == set(expected)
    floats = {row.name: row.reason for row in rows.maps if row.quantize is None}
    assert floats.keys() == NETS[name].floats.keys()
    assert all(words in floats[key] for key, words in NETS[name].floats.items())


@pytest.mark.parametrize("name", NETS)
def test_shapes_and_signs_are_those_of_the_values(name):
    net, rows = NETS[name], planned(name)

    def check(key, value):
        row = rows.map(key)
        assert row.size == value.numel() // (1 if row.kind == "Parameter" else len(value))
        assert row.signed or value.min() >= 0
        return value

    net.by_hand(settled(net), net.example(), check)


@pytest.mark.parametrize("name", NETS)
def test_any_batch_gives_the_same_rows(name):
    net = NETS[name]
    alone = plan(settled(net), net.example()[:1], maps=Quantize())
    assert [row.shape for row in alone.maps] == [row.shape for row in planned(name).maps]
    assert alone.maps == plan(settled(net).train(), net.example()[:1], maps=Quantize()).maps


@pytest.mark.parametrize("name", NETS)
def test_every_weight_that_multiplies_is_read_from_some_map(name):
    rows = planned(name)
    multiplying = {row.name for row in rows if row.macs}
    assert {key for row in rows.maps for key in row.reads} == multiplying


def packed_beside_plan(model: nn.Module, example: torch.Tensor, table: Plan) -> tuple[Artifact, int, int]:
    """The file of the model under this plan, and the bytes of the largest map, by its graph and by the plan."""
    prepare_(model, table)
    model.train()(example)
    for site in maps_of(model):
        site.quantizer.start()
    hardened = harden_(model.eval(), Target(bit_operations=10**12))
    artifact = pack(model, example)
    assert artifact.graph is not None
    largest = count_bits(artifact.graph, artifact.tensors, count(artifact.graph, artifact.constants)).largest_map
    assert largest is not None
    return artifact, largest.bytes, largest_map_bytes(map_rows(table, hardened.maps))


@pytest.mark.parametrize("name", NETS)
def test_no_map_of_the_packed_graph_is_larger_than_the_largest_of_the_plan(name):
    """So a limit that the plan's maps hold is held by the file."""
    net, rule = NETS[name], Quantize(4)
    model, example = settled(net), net.example()
    table = plan(model, example, quantize=rule, maps=rule)
    _, found, planned = packed_beside_plan(model, example, table)
    assert found <= planned
    if not any(row.name.endswith(".inside") for row in table.maps):
        assert found == planned


class Written(nn.Module):
    """Operations written out, of two maps and of one."""

    def __init__(self, last):
        super().__init__()
        self.a, self.b, self.out, self.last = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(8, 2), last

    def forward(self, x):
        return self.out(self.last(self.a(x), self.b(x)))


@pytest.mark.parametrize(
    ("last", "words"),
    [
        (lambda a, b: a / b.exp(), {"a": "truediv reads it", "exp": "truediv reads it"}),
        (lambda a, b: (a / 3).softmax(-1) + b, {"truediv": "softmax reads it"}),
        (
            lambda a, b: nn.functional.layer_norm(a, (8,)) - b,
            {"a": "layer_norm reads", "layer_norm": "sub", "b": "sub"},
        ),
        (lambda a, b: (a * 2 - 1).sigmoid() * b, {"sigmoid": "mul reads it", "b": "mul reads it"}),
        (lambda a, b: (a * 2 - 1).tanh() + b, {}),
        (lambda a, b: a * a + b, {}),
        (lambda a, b: a * a.sigmoid() + b / (b.abs() + 1), {}),
        (lambda a, b: a * (a > 0).float() + b, {}),
        (lambda a, b: a * a.softmax(-1) + b, {"a": "softmax reads it", "softmax": "mul reads it"}),
        (
            lambda a, b: torch.cat([nn.functional.glu(a * 2), nn.functional.glu(b)], -1),
            {"mul": "glu reads it", "b": "glu reads it"},
        ),
        (lambda a, b: nn.functional.relu(a + b).softmax(-1) + (a + b), {"relu": "softmax reads it"}),
    ],
)
def test_what_floating_point_reads_from_memory_is_listed(last, words):
    model = Written(last).eval()
    floats = {row.name: row.reason for row in plan(model, torch.rand(3, 6), maps=Quantize()).maps if not row.quantize}
    assert floats.pop("out") == "an output of the model stays float"
    assert floats.keys() == words.keys()
    assert all(said in floats[name] for name, said in words.items())


def test_a_map_that_floating_point_reads_can_be_given_a_rule_and_then_counts_its_bits():
    net = NETS["attention"]
    model, example = settled(net), net.example()
    table = plan(model, example, quantize=Quantize(8), maps=Quantize(8))
    with pytest.raises(TargetError, match="the map mul is kept in float32 and takes 128 bytes; allow more, or give it"):
        refuse_large_floats(table.maps, 127)
    table = table.replace("mul", maps=Quantize(8))
    refuse_large_floats(table.maps, 127)
    artifact, found, planned = packed_beside_plan(model, example, table)
    assert found == planned == 72, "qkv: 4 x 18 bytes"
    outputs = np.asarray(interpret(artifact, example.numpy()))
    np.testing.assert_allclose(outputs, model(example).detach().numpy(), atol=1e-5)


def test_infinite_scores_have_no_code():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mask", torch.tensor([0.0, float("-inf")]))

        def forward(self, x):
            return (x @ x.transpose(1, 2) + self.mask).softmax(-1)

    rows = plan(Masked(), torch.rand(3, 2, 4), maps=Quantize())
    assert "infinities" in rows.map("add").reason
    with pytest.raises(PlanError, match="infinities"):
        rows.replace("add", maps=Quantize(8))


def test_signs_of_maps_by_what_makes_them():
    assert not planned("resnet").map("layer1.0.relu_1").signed
    assert planned("resnet").map("layer1.0.bn2").signed
    assert not planned("mobilenet").map("relu6").signed
    assert planned("mobilenet").map("blocks.0.add").signed, "its branch is linear"
    assert not planned("inception").map("cat_1").signed
    assert not planned("attention").map("softmax").signed
    assert planned("twice").map("fc_2").signed, "a ReLU rides on it"
    net = NETS["vgg"]
    for example in (net.example(), net.example().abs(), torch.zeros_like(net.example())):
        assert plan(settled(net), example, maps=Quantize()).map("x").signed, "what an example holds proves nothing"


def test_what_reads_a_map():
    rows = planned("twice")
    assert rows.map("act_1").reads == ("fc.weight", "a.weight", "b.weight", "c.weight")
    assert rows.map("fc_2").reads == ("c.weight",)
    assert rows.map("add_1").reads == ("a.weight",)
    assert planned("transformer").map("norm1").reads == ("attention.in_proj_weight",)
    assert planned("transformer").map("attention.inside").reads == ("attention.out_proj.weight",)


def test_kinds():
    kinds = {row.name: row.kind for row in planned("transformer").maps}
    assert kinds["x"] == "input"
    assert kinds["places"] == "Parameter"
    assert kinds["attention.0"] == "MultiheadAttention"
    assert kinds["add_1"] == "add"
    assert kinds["mlp.1"] == "GELU"


def test_weights_used_in_functions_and_what_has_no_code():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 4))
            self.register_buffer("mask", torch.tensor([0.0, 0.0, float("-inf"), 0.0]))
            self.norm = nn.LayerNorm(4)

        def forward(self, x, y):
            z = nn.functional.linear(x, self.weight) @ self.weight.t()
            z = nn.functional.linear(z, self.weight / self.weight.norm())
            return (self.norm(z) + self.mask).softmax(-1) + 1 - y.sum()

    rows = plan(Odd(), (torch.randn(2, 4), torch.randn(2, 4)), maps=Quantize())
    assert rows.map("x").reads == rows.map("linear").reads == ("weight",)
    assert rows.map("matmul").quantize == Quantize()
    reasons = {row.name: row.reason for row in rows.maps if row.reason}
    assert reasons.keys() == {"mask", "truediv", "y", "linear_1", "add", "add_1", "sub"}
    assert "infinities" in reasons["mask"]
    assert "weight" in reasons["truediv"]
    assert reasons["y"] == "sum reads it in floating point"
    assert reasons["linear_1"] == "LayerNorm reads it in floating point"
    assert "infinities" in reasons["add"]
    assert reasons["add_1"] == "sub reads it in floating point"
    assert "an output" in reasons["sub"]


def test_a_concatenation_that_leaves_the_model_stays_float_with_what_it_alone_reads():
    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 2), nn.Linear(3, 2)

        def forward(self, x):
            return torch.cat([self.a(x), self.b(x)], 1)

    rows = plan(Heads(), torch.randn(2, 3), maps=Quantize())
    assert [(row.name, bool(row.quantize)) for row in rows.maps] == [("x", True), ("cat", False)]


def test_maps_stand_beside_other_rules():
    net = NETS["vgg"]
    rows = plan(settled(net), net.example(), prune=Prune(), maps=Quantize(4), skip=("features.0",))
    assert rows["features.0.weight"].prune is None
    assert rows["features.3.weight"].prune == Prune()
    assert rows.skip("features.2").map("features.2").reason == "kept by choice"
    assert plan(settled(net), net.example(), prune=Prune()).maps == ()
