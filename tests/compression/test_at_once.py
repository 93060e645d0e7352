"""compression.at_once: the same run without training; what was lost, and what could not be seen, is told."""

import dataclasses
import json

import pytest
import torch
from tiny_task import Net, tiny_task
from torch import nn

from secateur.compression import at_once
from secateur.compression.compress import compress
from secateur.compression.options import Options
from secateur.errors import TargetError
from secateur.ir.target import Target
from secateur.train.task import Task


@pytest.mark.parametrize("batches", [0, 3])
def test_a_run_without_training_has_the_same_result_and_files(tmp_path, batches):
    result = compress(tiny_task(), Target(density=0.5), out=tmp_path, options=Options(one_shot=batches))
    assert result.met
    assert result.density <= 0.5
    assert result.score_packed > 0.8
    assert result.check.relative_difference < 1e-5
    assert (result.schedule.prune_epochs, result.schedule.finetune_epochs) == (0, 0)
    page = json.loads((tmp_path / "report.json").read_text())
    given = "60 training inputs without labels" if batches else "the weights alone"
    assert any(f"Cutting at once, from {given}" in note for note in page["notes"])
    assert list(page["layers"][0]["histogram"]["series"]) == ["trained, dense", "cut at once"]
    again = compress(tiny_task(), Target(density=0.5), out=tmp_path, options=Options(one_shot=batches))
    assert again.sha256 == result.sha256


def test_two_runs_give_the_same_bytes(tmp_path):
    made = [
        compress(tiny_task(), Target(density=0.5), out=tmp_path / name, options=Options(one_shot=2)).sha256
        for name in ("a", "b")
    ]
    assert made[0] == made[1]


def test_a_loss_is_told_without_speaking_of_training(tmp_path):
    result = compress(tiny_task(), Target(density=0.02), out=tmp_path, options=Options(one_shot=0))
    (note,) = [line for line in result.notes if "more than one point" in line]
    assert "nothing was trained" in note
    assert "fine-tuning" not in note


def test_what_could_not_be_seen_is_in_the_notes(tmp_path):
    class Functional(Net):
        def forward(self, x):
            return self[6](self[2](nn.functional.linear(x, self[0].weight, self[0].bias)))

    task = tiny_task()
    model = Functional()
    odd = Task(model, task.example, task.train, task.val, task.loss, task.metric)
    result = compress(odd, Target(density=0.9), out=tmp_path, options=Options(one_shot=1))
    assert any(line.startswith("0.weight: its module is never called") for line in result.notes)


def test_max_drop_alone_is_refused_and_beside_a_density_it_is_judged(tmp_path):
    with pytest.raises(TargetError, match="does not search"):
        compress(tiny_task(), Target(max_drop=0.1), out=tmp_path / "a", options=Options(one_shot=1))
    options = Options(one_shot=0, on_miss="error")
    with pytest.raises(TargetError, match=r"max_drop 0\.01: lost"):
        compress(tiny_task(), Target(density=0.02, max_drop=0.01), out=tmp_path / "b", options=options)


def test_a_wish_to_stop_is_heard_between_layers(tmp_path, monkeypatch):
    whole = at_once.one_shot_

    def interrupted(*args, watch, **more):
        def stop_then_watch(step):
            line.stop.asked = True
            watch(step)

        return whole(*args, watch=stop_then_watch, **more)

    def cut(given, *args):
        nonlocal line
        line = given
        return at_once.cut_at_once(given, *args)

    line = None
    monkeypatch.setattr(at_once, "one_shot_", interrupted)
    monkeypatch.setattr("secateur.compression.compress.cut_at_once", cut)
    task = tiny_task()
    before = {name: tensor.clone() for name, tensor in task.model.state_dict().items()}
    with pytest.raises(KeyboardInterrupt, match="begins anew"):
        compress(task, Target(density=0.5), out=tmp_path, options=Options(one_shot=1))
    assert all(torch.equal(tensor, before[name]) for name, tensor in task.model.state_dict().items())
    monkeypatch.undo()
    assert compress(task, Target(density=0.5), out=tmp_path, options=Options(one_shot=1)).met


def test_the_tasks_own_model_stays(tmp_path):
    task = dataclasses.replace(tiny_task())
    before = {name: tensor.clone() for name, tensor in task.model.state_dict().items()}
    compress(task, Target(density=0.3), out=tmp_path, options=Options(one_shot=2))
    assert all(torch.equal(tensor, before[name]) for name, tensor in task.model.state_dict().items())
