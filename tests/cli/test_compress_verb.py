"""`compress`: a table and files, JSON alone, exit 1 for a missed target, 2 for wrong input, 130 when interrupted."""

import os
import signal
from pathlib import Path

import pytest

from secateur.compression import compress as compressing
from secateur.ir.artifact import Artifact

SHORT = ("--epochs", "2", "--finetune-epochs", "1", "--lr", "0.001")


NEVER_THE_SAME = """
import dataclasses
import torch
from secateur.train.loading import load_task

draw = torch.Generator()

class Never(list):
    def __iter__(self):
        for inputs, labels in super().__iter__():
            yield inputs + 0.01 * torch.rand(inputs.shape, generator=draw), labels

def build():
    task = load_task("SAMPLE:build")
    return dataclasses.replace(task, train=Never(task.train))
""".replace("SAMPLE", str(Path(__file__).with_name("sample_task.py")))


def test_a_table_and_files(secateur, task_name, tmp_path):
    ran = secateur("compress", task_name, "--density", "0.5", "-o", tmp_path / "run", *SHORT)
    assert ran.status == 0, ran.err
    assert ran.out.splitlines()[0].split()[:3] == ["tensor", "fate", "why"]
    assert "Linear.bias has no pruning rule" in ran.out
    assert "verified: " in ran.out
    assert "self-prune: 4/4" in ran.err
    assert Artifact.load(tmp_path / "run" / "model.secat").graph is not None
    again = secateur("compress", task_name, "--density", "0.5", "-o", tmp_path / "run", *SHORT)
    assert again.out == ran.out
    assert "self-prune" not in again.err
    assert "was complete: its result is read" in again.err


def test_json_alone(secateur, task_name, tmp_path):
    data = secateur("compress", task_name, "--density", "0.5", "-o", tmp_path / "run", *SHORT, "--json").json
    assert data["met"]
    assert [row["name"] for row in data["layers"]] == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_quantizing(secateur, task_name, tmp_path):
    words = ("compress", task_name, "--density", "0.5", "--average-bits", "4", "--bits", "2-8", "-o", tmp_path / "run")
    ran = secateur(*words, *SHORT)
    assert ran.status == 0, ran.err
    assert "threshold per tensor, 2-8 bits per tensor" in ran.out
    assert secateur(*words, *SHORT).out == ran.out
    both = secateur("compress", task_name, "--density", "0.5", "--bits", "4", "-o", tmp_path / "two", "--one-shot")
    assert both.status == 0, both.err
    assert "cut and quantized at once, nothing was trained" in both.out


def test_quantizing_feature_maps(secateur, task_name, tmp_path):
    limits = ("--bit-operations", "4000", "--largest-map-bytes", "8")
    ran = secateur("compress", task_name, "--bits", "2-8", "--map-bits", "2-8", *limits, "-o", tmp_path / "run", *SHORT)
    assert ran.status == 0, ran.err
    assert "rule or why float" in ran.out
    assert "bit operations for one example" in ran.out
    graph = Artifact.load(tmp_path / "run" / "model.secat").graph
    assert any(node.op == "fake_quantize" for node in graph.nodes)
    refused = secateur("compress", task_name, *limits, "--map-bits", "x", "-o", tmp_path / "two")
    assert "--map-bits 'x'" in refused.err


def test_quantizing_by_value_and_maps_at_scales_found_at_run_time(secateur, task_name, tmp_path):
    rules = ("--bits", "4", "--level", "value", "--map-bits", "dynamic")
    ran = secateur("compress", task_name, "--density", "0.5", *rules, "-o", tmp_path / "run", *SHORT)
    assert ran.status == 0, ran.err
    graph = Artifact.load(tmp_path / "run" / "model.secat").graph
    assert any(node.op == "dynamic_quantize" for node in graph.nodes)
    assert "--level says nothing" in secateur("compress", task_name, "--density", "0.5", "--level", "value").err


def test_quantizing_at_once_needs_no_limit(secateur, task_name, tmp_path):
    ran = secateur("compress", task_name, "--one-shot", "--bits", "4", "--map-bits", "8", "-o", tmp_path / "run")
    assert ran.status == 0, ran.err
    assert "quantized at once, nothing was trained" in ran.out
    assert "density" not in ran.out.split("score on validation")[1], "nothing was pruned"
    graph = Artifact.load(tmp_path / "run" / "model.secat").graph
    assert {node.attributes["bits"] for node in graph.nodes if node.op == "fake_quantize"} == {8}
    held = secateur("compress", task_name, "--one-shot", "--bits", "8", "--max-drop", "0.5", "-o", tmp_path / "held")
    assert held.status == 0, held.err
    without = secateur("compress", task_name, "--one-shot", "-o", tmp_path / "two")
    assert (without.status, "needs at least one of density" in without.err) == (2, True)


def test_bytes_and_bits_at_once_find_weights_and_widths(secateur, task_name, tmp_path):
    words = ("compress", task_name, "--one-shot", "--bits", "2-8", "--packed-bytes", "240", "-o", tmp_path / "run")
    ran = secateur(*words)
    assert ran.status == 0, ran.err
    assert "cut and quantized at once, nothing was trained" in ran.out
    assert (tmp_path / "run" / "model.secat").stat().st_size <= 240
    assert "the one that loses least was taken" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.parametrize("batches", ["0", "2"])
def test_cutting_at_once(secateur, task_name, tmp_path, batches):
    words = ("compress", task_name, "--density", "0.5", "-o", tmp_path / "run", "--one-shot", "--batches", batches)
    ran = secateur(*words)
    assert ran.status == 0, ran.err
    assert "cut at once, nothing was trained" in ran.out
    assert ("repair layers: 2/2" in ran.err) is (batches == "2")
    ran = secateur(*words, "--epochs", "3")
    assert ran.status == 2
    assert "leave prune_epochs away" in ran.err


@pytest.mark.parametrize(("more", "status"), [((), 1), (("--on-miss", "warn"), 0)])
def test_a_missed_target_is_a_failed_check_or_told(secateur, task_name, tmp_path, more, status):
    words = ("compress", task_name, "--density", "0.05", "--max-drop", "0", "-o", tmp_path / "run", *SHORT)
    ran = secateur(*words, *more)
    assert ran.status == status
    assert "MISSED: " in ran.err


def test_warnings_are_told_when_they_come(secateur, tmp_path):
    (tmp_path / "task.py").write_text(NEVER_THE_SAME)
    ran = secateur("compress", f"{tmp_path / 'task.py'}:build", "--density", "0.5", "-o", tmp_path / "run", *SHORT)
    assert ran.status == 0, ran.err
    assert "warning: the training data does not come in the same order twice" in ran.err.splitlines()[0]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "at least one of density"),
        (("--density", "2"), "density is a fraction"),
        (("--density", "0.5", "--on-miss", "never"), "--on-miss is error or warn"),
        (("--density", "0.5", "--plan", "none.json"), "cannot read none.json"),
        (("--density", "0.5", "--plan", "none.json", "--bits", "4"), "cannot read none.json"),
        (("--density", "0.5", "--bits", "1"), "2 to 8 bits"),
        (("--density", "0.5", "--average-bits", "1"), "no width is narrower than 2 bits"),
        (("--density", "0.5", "--average-bits", "4"), "quantizes none"),
        (("--density", "0.5", "--distill", "2"), "weight of distillation"),
    ],
)
def test_wrong_input_is_told(secateur, task_name, tmp_path, words, told):
    ran = secateur("compress", task_name, "-o", tmp_path / "run", *words)
    assert ran.status == 2
    assert told in ran.err


def test_another_target_in_the_same_folder_is_refused(secateur, task_name, tmp_path):
    assert secateur("compress", task_name, "--density", "0.5", "-o", tmp_path / "run", *SHORT).status == 0
    ran = secateur("compress", task_name, "--density", "0.4", "-o", tmp_path / "run", *SHORT)
    assert ran.status == 2
    assert "target, density: 0.5 then, 0.4 now" in ran.err


def test_interrupted_it_says_how_to_go_on(secateur, task_name, tmp_path, monkeypatch):
    def watcher(progress):
        return lambda event: os.kill(os.getpid(), signal.SIGINT)

    words = ("compress", task_name, "--density", "0.5", "-o", tmp_path / "run", *SHORT)
    with monkeypatch.context() as patch:
        patch.setattr(compressing, "watcher", watcher)
        ran = secateur(*words)
    assert ran.status == 130
    assert f"everything is kept in {tmp_path / 'run'}, the same command goes on from there" in ran.err
    assert secateur(*words).status == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--match", "outputs"), "--match says nothing without --distill"),
        (("--batches", "3"), "--batches says nothing without --one-shot"),
        (("--lr", "0"), "lr is the peak of the rate"),
        (("--average", "1"), "average is 0 or the decay"),
    ],
)
def test_a_wrong_option_leaves_the_folder_to_the_right_one(secateur, task_name, tmp_path, words, told):
    asked = ("compress", task_name, "--density", "0.5", "-o", tmp_path / "run")
    ran = secateur(*asked, *words)
    assert ran.status == 2
    assert told in ran.err
    assert secateur(*asked, *SHORT).status == 0


def test_cutting_at_once_needs_no_labels(secateur, task_name, tmp_path):
    task = task_name.replace(":build", ":no_labels")
    ran = secateur("compress", task, "--one-shot", "--density", "0.5", "-o", tmp_path / "run")
    assert ran.status == 0, ran.err
    assert "score on validation: not measured" in ran.out
    assert "note: what this costs was not measured: the batches of the task's val are inputs" in ran.out


def test_a_precision_is_passed_on_and_told(secateur, task_name, tmp_path, monkeypatch):
    monkeypatch.setattr("secateur.train.precision.has_bfloat16", lambda device: True)
    ran = secateur("compress", task_name, "--density", "0.5", "-o", tmp_path / "run", *SHORT, "--precision", "bfloat16")
    assert ran.status == 0, ran.err
    assert "forward passes in bfloat16" in ran.out
    ran = secateur("compress", task_name, "--density", "0.5", "-o", tmp_path / "other", "--precision", "half")
    assert ran.status == 2
    assert "precision is float32 or bfloat16, not 'half'" in ran.err
