"""compression.at_once: the same run without training; what was lost, and what could not be seen, is told."""

import dataclasses
import json
import math

import pytest
import torch
from tiny_task import Net, tiny_task
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from secateur.compression import at_once
from secateur.compression.compress import compress
from secateur.compression.options import Options
from secateur.compression.result import Compression
from secateur.errors import DataError, TargetError
from secateur.ir.artifact import Artifact
from secateur.ir.rules import Prune, Quantize
from secateur.ir.target import Target
from secateur.nn.planning import plan
from secateur.nn.refit import NONE
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


ONCE = Options(one_shot=2)


def _alone(batches):
    return [inputs for inputs, _ in batches]


def test_training_inputs_without_labels_give_the_same_file_and_are_judged_on_validation(tmp_path):
    task = dataclasses.replace(tiny_task(), train=tiny_task().val)
    alone = dataclasses.replace(task, train=_alone(task.train))
    loader = dataclasses.replace(task, train=DataLoader(TensorDataset(torch.cat(alone.train)), batch_size=30))
    pairs, *others = [
        compress(one, Target(density=0.5), out=tmp_path / str(number), options=ONCE)
        for number, one in enumerate((task, alone, loader))
    ]
    for result in others:
        assert result.sha256 == pairs.sha256
        assert result.score_packed == pairs.score_packed > 0.8


@pytest.mark.parametrize("values", [True, False])
def test_without_any_labels_the_file_is_checked_and_why_there_is_no_score_is_told(tmp_path, values):
    task = tiny_task()
    alone = _alone(task.val) if values else []
    result = compress(
        dataclasses.replace(task, train=_alone(task.train), val=alone), Target(density=0.5), out=tmp_path, options=ONCE
    )
    assert result.met
    assert math.isnan(result.score_packed)
    assert result.check.examples == (30 if values else 2)
    reason = "the batches of the task's val are inputs without labels" if values else "the task's val gave no batch"
    assert result.notes[0] == f"what this costs was not measured: {reason}"
    assert Compression.from_json((tmp_path / "result.json").read_text()).notes == result.notes


def test_a_limit_on_a_score_that_cannot_be_computed_is_refused(tmp_path):
    task = dataclasses.replace(tiny_task(), val=_alone(tiny_task().val))
    with pytest.raises(DataError, match=r"max_drop needs a score of the dense model: .* inputs without labels"):
        compress(task, Target(density=0.5, max_drop=0.1), out=tmp_path, options=ONCE)


def test_training_refuses_validation_data_without_labels_at_once(tmp_path):
    def trained(outputs, labels):
        raise AssertionError("trained before the validation data was looked at")

    task = dataclasses.replace(tiny_task(trained), val=_alone(tiny_task().val))
    with pytest.raises(DataError, match=r"a batch is a pair \(inputs, labels\), not a Tensor"):
        compress(task, Target(density=0.5), out=tmp_path)


def quantizing(**rules):
    task = tiny_task()
    return plan(task.model, task.example, **rules)


def test_a_plan_that_only_quantizes_is_calibrated(tmp_path):
    rules = {"quantize": Quantize({4, 8}), "maps": Quantize({4, 8})}
    target, options = Target(average_bits=8, largest_map_bytes=12), Options(one_shot=3)
    result = compress(tiny_task(), target, out=tmp_path, plan=quantizing(**rules), options=options)
    assert result.met
    assert result.score_packed > 0.9
    assert {row.bits for row in result.layers if row.bits} == {8}
    assert max(row.bytes for row in result.maps if row.bits) <= 12
    assert {row.bits for row in result.maps} == {8, 4, None}
    page = json.loads((tmp_path / "report.json").read_text())
    assert any("Quantizing at once, from 60 training inputs without labels" in note for note in page["notes"])
    moved = [row for row in result.layers if row.name.endswith("bias")]
    assert moved


def test_weights_alone_need_no_data_but_maps_do(tmp_path):
    weights = quantizing(quantize=Quantize(8))
    result = compress(
        tiny_task(), Target(average_bits=8), out=tmp_path / "a", plan=weights, options=Options(one_shot=0)
    )
    assert result.met
    maps = quantizing(maps=Quantize(8))
    with pytest.raises(TargetError, match="ranges of feature maps come from data"):
        compress(tiny_task(), Target(largest_map_bytes=99), out=tmp_path / "b", plan=maps, options=Options(one_shot=0))


def test_without_batches_the_file_is_measured_too(tmp_path, monkeypatch):
    """Not filled afterwards: it holds the limit when it is cut, which an estimate has no room for."""
    monkeypatch.setattr("secateur.compression.line.refit_", lambda *_, **__: NONE)
    result = compress(tiny_task(), Target(packed_bytes=400), out=tmp_path, options=Options(one_shot=0))
    assert result.met
    assert 390 <= len(Artifact.load(tmp_path / "model.secat").to_bytes()) <= 400


def test_cutting_and_quantizing_at_once(tmp_path):
    rules = {"quantize": Quantize(8), "maps": Quantize(8)}
    target = Target(density=0.6, packed_bytes=760)
    made = quantizing(prune=Prune(), **rules)
    result = compress(tiny_task(), target, out=tmp_path, plan=made, options=Options(one_shot=2))
    assert result.met
    assert result.density == pytest.approx(0.6, abs=0.01)
    assert {row.bits for row in result.layers if row.bits} == {8}
    assert 8 in {row.bits for row in result.maps}
