"""`demo`: says what it will do, checks where it will write before it trains, and leaves whole files or none."""

import dataclasses
import json

import pytest
import torch

from secateur.cli import demo as verb
from secateur.cli import demo_line
from secateur.ir.artifact import Artifact
from secateur.reporting.report import Report
from secateur.train.record import Step


@pytest.fixture
def trained(monkeypatch, demo_result):
    """The demo without its minutes of training; the recipes it was asked for."""
    asked = []

    def train(recipe, *, seed, threads):
        asked.append((recipe, seed, threads))
        return demo_result

    monkeypatch.setattr(verb, "_train", train)
    return asked


def test_one_table_and_three_files(secateur, trained, demo_result, tmp_path):
    ran = secateur("demo", "-o", tmp_path / "new", "--seed", "5")
    assert ran.status == 0
    lines = ran.out.splitlines()
    assert lines[0].split() == ["measured", "before", "after", "change", "how"]
    assert [line.split("  ")[0] for line in lines[2:7]] == [
        "accuracy", "density", "file size", "parameters", "multiply-accumulates",
    ]  # fmt: skip
    assert "verified: " in ran.out
    assert "LeNet-5 on 10,000 images of Fashion-MNIST" in ran.err
    assert "three minutes" in ran.err
    assert Artifact.load(tmp_path / "new" / "demo.secat") == demo_result.packed
    assert "seed 5" in (tmp_path / "new" / "report.html").read_text()
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "demo.secat", "report.html", "report.json",
    ]  # fmt: skip
    assert Report.load(tmp_path / "new" / "report.json").to_html() == (tmp_path / "new" / "report.html").read_text()


def test_json_alone(secateur, trained, tmp_path):
    data = secateur("demo", "-o", tmp_path, "--fast", "--json").json
    assert data["summary"][2]["after"]["value"] == (tmp_path / "demo.secat").stat().st_size
    assert data["verified"]["examples"] == 100
    ((recipe, seed, _),) = trained
    assert recipe.density == 0.03
    assert recipe.schedule.prune_epochs < 10
    assert seed == 0


def test_replacing_is_said_before_training(secateur, trained, tmp_path):
    (tmp_path / "demo.secat").write_bytes(b"mine")
    ran = secateur("demo", "-o", tmp_path)
    assert f"replaces {tmp_path / 'demo.secat'}" in ran.err.splitlines()[0]
    assert ran.status == 0


def test_what_cannot_work_is_refused_before_training(secateur, trained, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "report.html").mkdir()
    for arguments in (
        ("-o", tmp_path / "file"), ("-o", tmp_path), ("--density", "3"), ("--density", "0"), ("--seed", "-1"),
        ("--threads", "0"),
    ):  # fmt: skip
        ran = secateur("demo", *arguments)
        assert ran.status == 2
        assert ran.out == ""
        assert "Traceback" not in ran.err
    assert trained == []


def test_an_interrupt_leaves_nothing(secateur, monkeypatch, tmp_path):
    def stop(recipe, **_):
        raise KeyboardInterrupt

    monkeypatch.setattr(verb, "_train", stop)
    ran = secateur("demo", "-o", tmp_path)
    assert ran.status == 130
    assert ran.err.splitlines()[-1] == f"interrupted: training was stopped; nothing was written into {tmp_path}"
    assert list(tmp_path.iterdir()) == []


def test_an_artifact_that_differs_from_torch_fails(secateur, monkeypatch, demo_result, tmp_path):
    wrong = dataclasses.replace(demo_result, check=dataclasses.replace(demo_result.check, relative_difference=0.5))
    monkeypatch.setattr(verb, "_train", lambda recipe, **_: wrong)
    ran = secateur("demo", "-o", tmp_path, "--json")
    assert ran.status == 1
    assert json.loads(ran.out)["verified"]["relative_difference"] == 0.5
    assert "check failed" in ran.err


def test_training_reports_progress_and_uses_what_was_asked_for(monkeypatch, capsys):
    seen = {}

    def run_line(task, test, recipe, watch):
        seen.update(threads=torch.get_num_threads(), recipe=recipe, sizes=(len(task.train.labels), len(test.labels)))
        watch(Step("prune", 3, 3, 0.5))
        return "result"

    monkeypatch.setattr(demo_line, "run_line", run_line)
    recipe = verb._recipe(0.5, fast=True)
    assert verb._train(recipe, seed=1, threads=1) == "result"
    assert seen == {"threads": 1, "recipe": recipe, "sizes": (7000, 2000)}
    assert "self-prune: 3/3 (100 %)" in capsys.readouterr().err
