"""`plan` writes what `Plan.from_json` reads."""

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
