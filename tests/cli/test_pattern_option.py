"""cli.pattern: patterns as people type them, in `plan` and in `compress`."""

import json

import pytest

from secateur.cli.pattern import prune_from
from secateur.errors import PlanError
from secateur.ir.plan import Plan
from secateur.ir.rules import Prune

SHORT = ("--epochs", "2", "--finetune-epochs", "1", "--lr", "0.001")


@pytest.mark.parametrize(
    ("pattern", "more", "rule"),
    [
        (None, {}, Prune()),
        (None, {"form": "analytic"}, Prune(form="analytic")),
        ("4:16", {}, Prune("balanced", n=4, m=16)),
        ("1, 2,4,8:16", {}, Prune("balanced", n=(1, 2, 4, 8), m=16)),
        ("4:16", {"also": "2:4", "groups": "banks"}, Prune("balanced", n=4, m=16, also="2:4", groups="banks")),
        ("2:4", {"method": "sr_ste"}, Prune("sr_ste", n=2, m=4)),
    ],
)
def test_rules(pattern, more, rule):
    assert prune_from(pattern, **more) == rule


@pytest.mark.parametrize(
    ("pattern", "more", "words"),
    [
        ("4/16", {}, "n of every m weights"),
        ("4:16:2", {}, "n of every m weights"),
        (":16", {}, "n of every m weights"),
        ("16:4", {}, "n = 1 to 3"),
        (None, {"method": "balanced"}, "say how many"),
        (None, {"also": "2:4"}, "--also says nothing without --pattern"),
        (None, {"groups": "banks"}, "--groups says nothing without --pattern"),
        ("4:16", {"method": "threshold"}, "only a pattern has that"),
        ("4:16", {"method": "balance"}, "did you mean 'balanced'"),
    ],
)
def test_what_is_none(pattern, more, words):
    with pytest.raises(PlanError, match=words):
        prune_from(pattern, **more)


def test_plan_writes_it(secateur, task_name, tmp_path):
    ran = secateur("plan", task_name, "-o", tmp_path / "plan.json", "--pattern", "1,2:4", "--groups", "banks")
    assert ran.status == 0, ran.err
    assert "balanced 1, 2:4 in banks" in ran.out
    found = Plan.from_json((tmp_path / "plan.json").read_text())["0.weight"].prune
    assert found == Prune("balanced", n=(1, 2), m=4, groups="banks")
    assert secateur("plan", task_name, "--method", "top_n").status == 2


def test_compress_tells_balance_and_what_was_moved(secateur, task_name, tmp_path):
    ran = secateur("compress", task_name, "--pattern", "2:4", "-o", tmp_path / "run", *SHORT)
    assert ran.status == 0, ran.err
    assert "lanes idle before" in ran.out
    data = json.loads((tmp_path / "run" / "result.json").read_text())
    assert data["target"]["density"] == 0.5
    rows = [row for row in data["layers"] if row["fate"] == "pruned"]
    assert {row["pattern"] for row in rows} == {"2:4"}
    assert all(row["groups"]["after"] == [0, 0, row["weights"] // 4] for row in rows)
    page = (tmp_path / "run" / "report.html").read_text()
    assert 'id="balance"' in page
    assert "on the other side" in page
    again = secateur("compress", task_name, "--pattern", "2:4", "--density", "0.3", "-o", tmp_path / "other", *SHORT)
    assert again.status == 2
    assert "do not agree" in again.err


def test_a_pattern_beside_a_plan_is_refused(secateur, task_name, tmp_path):
    secateur("plan", task_name, "-o", tmp_path / "plan.json", "--pattern", "2:4")
    both = ("--plan", tmp_path / "plan.json", "--pattern", "2:4", "-o", tmp_path / "run")
    assert "--pattern says nothing beside --plan" in secateur("compress", task_name, *both).err
    ran = secateur("compress", task_name, "--plan", tmp_path / "plan.json", "-o", tmp_path / "run", *SHORT)
    assert ran.status == 0, ran.err
