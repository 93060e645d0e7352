"""`compress --method mac-aware`: thresholds, a table, fine-tuning with fixed masks; the same again where it goes on."""

import os
import signal

import pytest

import secateur.compression.compress as compressing
from secateur.ir.plan import Plan

SHORT = ("--method", "mac-aware", "--finetune-epochs", "1", "--lr", "0.001")


@pytest.mark.parametrize("more", [(), ("--allowance", "linear", "--cap", "0.9"), ("--batches", "2")])
def test_it_meets_macs_and_keeps_its_thresholds(secateur, task_name, tmp_path, more):
    ran = secateur("compress", task_name, "--macs", "24", "-o", tmp_path / "run", "--json", *SHORT, *more)
    assert ran.status == 0, ran.err
    assert "allowance" in ran.err
    assert ran.json["schedule"]["prune_epochs"] == 0
    assert ran.json["met"]
    assert sum(row["macs_after"] for row in ran.json["layers"]) <= 24
    starts = {row.prune.start for row in Plan.from_json((tmp_path / "run" / "plan.json").read_text()).pruned}
    assert len(starts) == 2


def test_interrupted_it_goes_on_with_the_same_plan(secateur, task_name, tmp_path, monkeypatch):
    words = ("compress", task_name, "--macs", "24", "--batches", "1", *SHORT)
    with monkeypatch.context() as patch:
        patch.setattr(compressing, "watcher", lambda progress: lambda event: os.kill(os.getpid(), signal.SIGINT))
        assert secateur(*words, "-o", tmp_path / "run").status == 130
    assert secateur(*words, "-o", tmp_path / "run").status == 0
    assert secateur(*words, "-o", tmp_path / "whole").status == 0
    file, whole = ((tmp_path / name / "model.secat").read_bytes() for name in ("run", "whole"))
    assert file == whole


def test_rounds_are_told_and_a_drop_is_held(secateur, task_name, tmp_path):
    ran = secateur("compress", task_name, "--macs", "24", "--max-drop", "0.2", "-o", tmp_path / "run", *SHORT)
    assert ran.status == 0, ran.err
    assert "round 2, from round 1" in ran.err
    assert "rounds of 1 epochs" in ran.out
    assert "cut and fine-tuned in" in ran.out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--method", "mac-awear"), "did you mean 'mac-aware'"),
        (("--cap", "0.9"), "--cap needs --method mac-aware"),
        (("--method", "mac-aware", "--one-shot"), "--one-shot does not go with --method mac-aware"),
        (("--method", "mac-aware", "--epochs", "2"), "--epochs does not go with"),
        (("--method", "mac-aware", "--allowance", "sqr"), "did you mean 'sqrt'"),
        (("--method", "mac-aware", "--max-drop", "0.1", "--rounds", "2"), "leave the number of rounds away"),
        (("--rounds", "2"), "--rounds needs --method mac-aware"),
    ],
)
def test_wrong_input_is_told(secateur, task_name, tmp_path, words, told):
    ran = secateur("compress", task_name, "--macs", "24", "-o", tmp_path / "run", *words)
    assert ran.status == 2
    assert told in ran.err
