"""compress with patterns: in one call and exactly again after an interruption, at once, and under a max_drop."""

import dataclasses

import pytest
from tiny_task import OPTIONS, failing_loss, tiny_task

from secateur.compression.compress import compress
from secateur.compression.options import Options
from secateur.compression.result import Compression
from secateur.errors import TargetError
from secateur.ir.artifact import Artifact
from secateur.ir.rules import Prune, Quantize
from secateur.ir.target import Target
from secateur.nn.planning import plan


class Killed(BaseException):
    """Stands for SIGKILL."""


def kill(_):
    raise Killed


def rows(task, quantize=None, **rule):
    rule = {"method": "balanced", "n": 2, "m": 4} | rule
    return plan(task.model, task.example, prune=Prune(**rule), quantize=quantize)


def run(folder, *, target=None, options=OPTIONS, task=None, **rule):
    task = task or tiny_task()
    return compress(task, target or Target(density=0.5), out=folder, plan=rows(task, **rule), options=options)


@pytest.mark.parametrize("method", ["balanced", "sr_ste", "top_n"])
def test_the_result_tells_every_group(tmp_path, method):
    result = run(tmp_path, method=method)
    assert result.met
    cut = [row for row in result.layers if row.fate == "pruned"]
    assert [row.pattern for row in cut] == ["2:4"] * 3
    assert all(row.groups.after == (0, 0, row.weights // 4) for row in cut)
    assert all((row.moved == 0) == (method != "balanced") for row in cut)
    assert Compression.from_json(result.to_json()) == result
    assert "lanes idle before" in str(result)
    assert result.score_hard > 0.6


@pytest.mark.parametrize("step", [7, 19, 25])
def test_interrupted_it_ends_with_the_same_bytes(tmp_path, step):
    """While soft, while exact, while fine-tuning."""
    run(tmp_path / "whole")
    with pytest.raises(Killed):
        run(tmp_path / "broken", task=tiny_task(failing_loss(step, kill)))
    run(tmp_path / "broken")
    whole, broken = ((tmp_path / name / "model.secat").read_bytes() for name in ("whole", "broken"))
    assert whole == broken


def test_several_n_under_a_limit_on_bytes(tmp_path):
    result = run(tmp_path, target=Target(packed_bytes=1000), n=(1, 2, 3))
    assert result.file_bytes <= 1000
    assert {row.pattern for row in result.layers if row.groups} <= {"1:4", "2:4", "3:4"}


def test_together_with_codes(tmp_path):
    result = run(tmp_path, quantize=Quantize((2, 6)))
    assert result.met
    assert all(row.bits for row in result.layers if row.groups)
    assert Artifact.load(tmp_path / "model.secat").graph is not None


@pytest.mark.parametrize("batches", [0, 3])
@pytest.mark.parametrize("n", [2, (1, 2, 3)])
def test_at_once(tmp_path, batches, n):
    result = run(tmp_path, options=Options(one_shot=batches), n=n)
    assert result.met
    assert result.density <= 0.5
    cut = [row for row in result.layers if row.groups]
    assert len(cut) == 3
    for row in cut:
        (kept,) = [count for count, groups in enumerate(row.groups.after) if groups]
        assert row.pattern == f"{kept}:4"


def test_a_max_drop_is_only_judged_where_every_tensor_has_its_pattern(tmp_path):
    result = run(tmp_path / "run", target=Target(max_drop=0.9))
    assert result.target == Target(max_drop=0.9, density=0.5)
    assert result.met
    options = dataclasses.replace(OPTIONS, on_miss="error")
    task = tiny_task()
    mixed = rows(task).replace("0.weight", prune=Prune())
    with pytest.raises(TargetError, match="max_drop searches for a density"):
        compress(task, Target(max_drop=0.1), out=tmp_path / "mixed", plan=mixed, options=options)
