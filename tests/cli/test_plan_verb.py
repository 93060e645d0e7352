"""`plan` writes what `Plan.from_json` reads."""

import pytest

from secateur.ir.plan import Plan


def test_table_and_file(secateur, task_name, tmp_path):
    ran = secateur("plan", task_name, "-o", tmp_path / "plan.json", "--skip", "2", "--granularity", "channel")
    assert ran.status == 0
    assert "2 of 4" not in ran.err
    assert "1 of 4 tensors may be cut" in ran.err
    plan = Plan.from_json((tmp_path / "plan.json").read_text())
    assert ran.out == f"{plan}\n"
    assert [row.name for row in plan.pruned] == ["0.weight"]
    assert plan["0.weight"].prune.granularity == "channel"


def test_bits(secateur, task_name, tmp_path):
    ran = secateur("plan", task_name, "-o", tmp_path / "plan.json", "--bits", "2,8")
    assert "2, 8 bits, per tensor" in ran.out
    assert Plan.from_json((tmp_path / "plan.json").read_text())["0.weight"].quantize.bits == (2, 8)
    ran = secateur("plan", task_name, "-o", tmp_path / "plan.json", "--map-bits", "4-8")
    assert "feature maps quantized" in ran.err
    assert {row.quantize.bits for row in Plan.from_json((tmp_path / "plan.json").read_text()).quantized_maps} == {
        (4, 5, 6, 7, 8)
    }
    assert "2 to 8 bits" in secateur("plan", task_name, "--bits", "9").err


def test_levels_and_scales_found_at_run_time(secateur, task_name, tmp_path):
    ran = secateur(
        "plan", task_name, "-o", tmp_path / "plan.json", "--bits", "4", "--level", "value", "--map-bits", "dynamic"
    )
    assert "4 bits, per tensor, by value" in ran.out
    assert "8 bits, dynamic, per row" in ran.out
    plan = Plan.from_json((tmp_path / "plan.json").read_text())
    assert plan["0.weight"].quantize.level == "value"
    assert all(row.quantize.is_dynamic for row in plan.quantized_maps)
    assert "--level says nothing without --bits" in secateur("plan", task_name, "--level", "value").err
    assert "did you mean 'value'" in secateur("plan", task_name, "--bits", "4", "--level", "valeu").err


def test_json_alone(secateur, task_name):
    assert secateur("plan", task_name, "--json").json["secateur_plan"] == 1


def test_bad_names_and_rules(secateur, task_name):
    assert "did you mean" in secateur("plan", task_name, "--form", "densee").err
    assert secateur("plan", task_name, "--skip", "nonsense").status == 2
    assert secateur("plan", task_name.replace(":build", ":buildd")).err.endswith("did you mean 'build'?\n")


def test_mac_aware_thresholds_go_into_the_plan(secateur, task_name, tmp_path):
    words = ("plan", task_name, "--method", "mac-aware", "--macs", "24", "-o", tmp_path / "plan.json")
    ran = secateur(*words)
    assert ran.status == 0, ran.err
    assert "allowance relative, c " in ran.out
    starts = [row.prune.start for row in Plan.from_json((tmp_path / "plan.json").read_text()).pruned]
    assert len(set(starts)) == 2
    told = secateur(*words, "--batches", "1", "--json").json
    assert told["mac_aware"]["macs_after"] <= 24 < told["mac_aware"]["macs_before"]
    assert [row["name"] for row in told["mac_aware"]["layers"]] == ["0.weight", "2.weight"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--macs", "24"), "--macs needs --method mac-aware"),
        (("--method", "mac-aware"), "a Target needs at least one"),
        (("--method", "mac-aware", "--macs", "24", "--pattern", "2:4"), "--pattern does not go with"),
        (("--method", "mac-aware", "--macs", "24", "--granularity", "channel"), "one threshold a tensor"),
        (("--method", "mac-aware", "--macs", "24", "--allowance", "sensitivity"), "needs batches"),
    ],
)
def test_mac_aware_options_that_do_not_go_together_are_told(secateur, task_name, words, told):
    ran = secateur("plan", task_name, *words)
    assert ran.status == 2
    assert told in ran.err
