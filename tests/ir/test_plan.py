"""ir.plan: frozen, JSON both ways, pure replace, errors that teach."""

import dataclasses
import json

import pytest

from secateur.errors import PlanError
from secateur.ir.plan import Plan
from secateur.ir.plan_rows import MapPlan, TensorPlan
from secateur.ir.rules import Prune, Quantize

ROWS = (
    TensorPlan("conv1.weight", "Conv2d", (20, 1, 5, 5), 576, Prune()),
    TensorPlan("conv1.bias", "Conv2d", (20,), reason="Conv2d.bias has no pruning rule"),
    TensorPlan("layer1.0.fc.weight", "Linear", (10, 500), 1, Prune(form="analytic", granularity="channel", start=0.5)),
    TensorPlan("head.weight", "Linear", (10, 10), 1, Prune(), tied=("embed.weight",), quantize=Quantize({2, 8})),
)
PLAN = Plan(ROWS)
MAPS = (
    MapPlan("x", "input", (1, 28, 28), False, Quantize(8), reads=("conv1.weight",)),
    MapPlan("layer1.0.relu", "ReLU", (64, 8, 8), False, Quantize((4, 8), scale="power_of_two"), reads=("a.weight",)),
    MapPlan("layer1.0.add", "add", (64, 8, 8), quantize=Quantize({4, 8})),
    MapPlan("layer1.0.add_1", "add", (64, 8, 8), reason="kept by choice"),
    MapPlan("head", "Linear", (10,), reason="an output of the model stays float"),
)
WITH_MAPS = Plan(ROWS, MAPS)


def test_json_goes_both_ways():
    assert Plan.from_json(PLAN.to_json()) == PLAN


def test_one_number_an_example_has_a_shape_of_its_own():
    table = Plan((), (MapPlan("sum", "sum", (), reason="mul reads it in floating point"),))
    assert Plan.from_json(table.to_json()) == table


def test_an_exact_name_is_that_map_and_not_what_lies_under_it():
    inside = MapPlan("cell.inside", "GRUCell", (4,), reason="computed in one call")
    table = Plan((), (MapPlan("cell", "GRUCell", (4,)), inside))
    assert table.matching_maps("cell") == ("cell",)
    assert table.replace("cell", maps=Quantize(8)).map("cell").quantize == Quantize(8)
    assert table.matching_maps("cell*") == ("cell", "cell.inside")


def test_json_of_maps_goes_both_ways_and_old_plans_have_none():
    assert Plan.from_json(WITH_MAPS.to_json()) == WITH_MAPS
    assert sum('"name"' in line for line in WITH_MAPS.to_json().splitlines()) == len(ROWS) + len(MAPS)
    assert "maps" not in PLAN.to_json()
    assert Plan.from_json('{"secateur_plan": 1, "tensors": []}').maps == ()


def test_maps_with_scales_found_at_run_time():
    gelu = MapPlan("gelu", "gelu", (64, 32), quantize=Quantize(8, scale="dynamic"), per="example")
    dynamic = Plan(ROWS, (*MAPS, gelu)).replace("x", maps="dynamic")
    assert Plan.from_json(dynamic.to_json()) == dynamic
    assert dynamic.map("x").quantize == Quantize(8, scale="dynamic")
    assert "8 bits, dynamic, per example" in str(dynamic)
    assert "8 bits, dynamic, per row" in str(dynamic)
    with pytest.raises(PlanError, match="is no rule"):
        WITH_MAPS.replace("x", maps="dynamik")
    with pytest.raises(PlanError, match="a weight does not change at run time"):
        PLAN.replace("conv1", quantize=Quantize(8, scale="dynamic"))
    with pytest.raises(PlanError, match="no width is learned"):
        Quantize((4, 8), scale="dynamic")
    text = PLAN.to_json().replace('"free"', '"dynamic"').replace('"bits": [2, 8]', '"bits": 8')
    with pytest.raises(PlanError, match="a weight does not change"):
        Plan.from_json(text)
    with pytest.raises(PlanError, match="per='column' has the wrong type"):
        Plan.from_json(dynamic.to_json().replace('"per": "example"', '"per": "column"'))
    number = MapPlan("mean", "mean", (), quantize=Quantize(8))
    with pytest.raises(PlanError, match="one number an example"):
        Plan(ROWS, (number,)).replace("mean", maps="dynamic")


def test_json_puts_one_tensor_on_a_line():
    assert sum('"name"' in line for line in PLAN.to_json().splitlines()) == len(ROWS)


def test_maps_and_tensors_are_told_apart():
    with pytest.raises(PlanError, match=r"'x' is a feature map, no tensor: plan.map\('x'\)"):
        WITH_MAPS["x"]
    with pytest.raises(PlanError, match=r"is a feature map, no tensor: replace\('layer1.0.relu', maps=...\)"):
        WITH_MAPS.replace("layer1.0.relu", quantize=None)


@pytest.mark.parametrize("given", [{"prune": 0.5}, {"quantize": 8}, {"maps": Prune()}])
def test_what_is_no_rule_is_refused(given):
    with pytest.raises(PlanError, match=f"{next(iter(given))}=.* is no rule: give"):
        WITH_MAPS.replace("head", **given)


def test_prints_a_table_with_every_tensor_and_reason():
    text = str(PLAN)
    for row in ROWS:
        assert row.name in text
    assert "Conv2d.bias has no pruning rule" in text
    assert "288,000" in text, "MACs of conv1"
    assert "tied: embed.weight" in text
    assert "2, 8 bits, per tensor" in text
    assert "quantize" not in str(PLAN.replace("head", quantize=None)), "no empty column"


def test_prints_maps_in_a_table_of_their_own():
    tensors, maps = str(WITH_MAPS).split("\n\n")
    assert tensors == str(PLAN)
    assert len(maps.splitlines()) == 2 + len(MAPS)
    for text in ("layer1.0.relu", "4-8 bits", "4,096", "64x8x8", "an output of the model stays float"):
        assert text in maps


def test_rules_of_maps_are_replaced_by_name_module_or_pattern():
    assert WITH_MAPS.map("layer1.0.relu").size == 4096
    narrow = WITH_MAPS.replace("layer1", maps=Quantize(4))
    assert [row.name for row in narrow.quantized_maps if row.quantize == Quantize(4)] == [
        row.name for row in MAPS if row.name.startswith("layer1")
    ], "what was kept by choice gets a rule too"
    assert narrow.tensors == ROWS
    one = WITH_MAPS.replace("*.add_1", maps=Quantize(4))
    assert one.map("layer1.0.add_1") == MapPlan("layer1.0.add_1", "add", (64, 8, 8), quantize=Quantize(4))
    float_again = WITH_MAPS.replace("x", maps=None).map("x")
    assert (float_again.quantize, float_again.reason) == (None, "kept by choice")
    both = WITH_MAPS.replace("layer1*", prune=None, maps=None)
    assert [row.name for row in both.quantized_maps] == ["x"]
    assert [row.name for row in both.pruned] == ["conv1.weight", "head.weight"]


def test_an_input_is_never_negative_where_its_owner_says_so():
    found = WITH_MAPS.replace("x", signed=True).replace("x", signed=False)
    assert not found.map("x").signed
    assert found.map("x").quantize == WITH_MAPS.map("x").quantize
    assert Plan.from_json(found.to_json()) == found
    assert found.replace("x", maps=Quantize(4), signed=True).map("x").signed
    with pytest.raises(PlanError, match=r"by what makes it \(ReLU\); signed= is for inputs"):
        WITH_MAPS.replace("layer1.0.relu", signed=False)
    with pytest.raises(PlanError, match="never is"):
        WITH_MAPS.replace("x", signed="+")


def test_skipping_means_tensors_and_maps():
    assert WITH_MAPS.skip("layer1").replace("x", maps=None).quantized_maps == ()
    assert WITH_MAPS.skip("layer1")["layer1.0.fc.weight"].prune is None
    assert WITH_MAPS.skip("x").tensors == ROWS
    assert WITH_MAPS.skip("conv1.weight").maps == MAPS
    with pytest.raises(PlanError, match="did you mean"):
        WITH_MAPS.skip("covn1")


def test_wrong_names_and_rules_of_maps_say_what_to_do():
    with pytest.raises(PlanError, match=r"no map in this plan is called 'layer1\.0\.rleu'; did you mean 'layer1"):
        WITH_MAPS.replace("layer1.0.rleu", maps=None)
    with pytest.raises(PlanError, match="did you mean 'layer1"):
        WITH_MAPS.map("layer1.0.rleu")
    with pytest.raises(PlanError, match="plan with maps="):
        PLAN.replace("x", maps=None)
    with pytest.raises(PlanError, match="the map head cannot be quantized: an output"):
        WITH_MAPS.replace("head", maps=Quantize())
    with pytest.raises(PlanError, match="a feature map has one scale"):
        WITH_MAPS.replace("x", maps=Quantize(granularity="channel"))
    with pytest.raises(PlanError, match="did you mean 'power_of_two'"):
        Quantize(scale="power_of_2")


def test_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PLAN.tensors = ()


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("conv1.weight", ["conv1.weight"]),
        ("conv1", ["conv1.weight", "conv1.bias"]),
        ("layer1.*.weight", ["layer1.0.fc.weight"]),
        ("layer1", ["layer1.0.fc.weight"]),
        ("embed.weight", ["head.weight"]),
    ],
)
def test_matching(pattern, names):
    assert list(PLAN.matching(pattern)) == names


def test_replace_is_pure():
    changed = PLAN.replace("layer1.*.weight", prune=None)
    assert changed["layer1.0.fc.weight"].prune is None
    assert PLAN["layer1.0.fc.weight"].prune is not None
    assert changed.replace("layer1", prune=Prune())["layer1.0.fc.weight"].prune == Prune()


def test_rules_are_replaced_one_by_one():
    both = PLAN.replace("conv1.weight", quantize=Quantize(4))["conv1.weight"]
    assert (both.prune, both.quantize) == (Prune(), Quantize(4))
    alone = PLAN.replace("head", prune=None)["head.weight"]
    assert (alone.prune, alone.quantize, alone.reason) == (None, Quantize({2, 8}), "")
    kept = PLAN.replace("head", prune=None, quantize=None)
    assert kept["head.weight"].reason == "kept by choice"
    assert [row.name for row in kept.changed] == ["conv1.weight", "layer1.0.fc.weight"]
    with pytest.raises(PlanError, match="changes nothing"):
        PLAN.replace("head")


def test_what_cannot_be_quantized_says_why():
    with pytest.raises(PlanError, match=r"conv1\.bias cannot be quantized: Conv2d\.bias has no pruning rule"):
        PLAN.replace("conv1.bias", quantize=Quantize())


def test_near_misses_are_named():
    with pytest.raises(PlanError, match=r"did you mean .*'conv1"):
        PLAN.replace("convl.weight", prune=None)
    with pytest.raises(PlanError, match=r"did you mean 'head\.weight'"):
        PLAN["haed.weight"]
    with pytest.raises(PlanError, match="did you mean 'threshold'"):
        Prune("treshold")


def test_what_cannot_be_pruned_says_why():
    with pytest.raises(PlanError, match=r"Conv2d\.bias has no pruning rule"):
        PLAN.replace("conv1.bias", prune=Prune())


@pytest.mark.parametrize("bad", [{"form": "soft"}, {"granularity": "row"}, {"start": 0}, {"start": "1"}, {"method": 3}])
def test_rules_refuse_nonsense(bad):
    with pytest.raises(PlanError):
        Prune(**bad)


def mutate(**changes):
    data = json.loads(PLAN.to_json())
    data["tensors"][0].update(changes)
    return json.dumps(data)


def mutate_map(**changes):
    data = json.loads(WITH_MAPS.to_json())
    data["maps"][0].update(changes)
    return json.dumps(data)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json",
        "[]",
        "{}",
        '{"secateur_plan": 2, "tensors": []}',
        '{"secateur_plan": 1, "tensors": {}}',
        '{"secateur_plan": 1, "tensors": [3]}',
        '{"secateur_plan": 1, "tensors": [{"name": "a"}]}',
        mutate(name=""),
        mutate(shape=[-1]),
        mutate(shape=[True]),
        mutate(shape="20"),
        mutate(reuse=2**62),
        mutate(surprise=1),
        mutate(prune={"method": "threshold", "beta": 1}),
        mutate(prune=[]),
        mutate(quantize=[]),
        mutate(quantize={"bit": 4}),
        mutate(quantize={"bits": 9}),
        mutate(quantize={"bits": [2, 2.5]}),
        mutate(tied=[1]),
        mutate(name="head.weight"),
        '{"secateur_plan": 1, "tensors": [], "maps": 3}',
        '{"secateur_plan": 1, "tensors": [], "maps": [{"name": "a", "kind": "b"}]}',
        mutate_map(name="head"),
        mutate_map(signed=1),
        mutate_map(reads="conv1.weight"),
        mutate_map(reads=[1]),
        mutate_map(prune={}),
        mutate_map(quantize={"granularity": "channel"}),
        "[" * 100_000,
    ],
)
def test_bad_json_is_a_plan_error(text):
    with pytest.raises(PlanError):
        Plan.from_json(text)
