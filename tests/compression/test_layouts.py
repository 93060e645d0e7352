"""A run in channels_last, and one in bfloat16: kept through copies, states and resuming, the same kind of file."""

import dataclasses
import json

import pytest
import torch
from conv_task import Pictures, conv_task
from tiny_task import OPTIONS, failing_loss, tiny_task

from secateur.compression.compress import compress
from secateur.errors import DataError, TrainingError
from secateur.ir.artifact import Artifact
from secateur.ir.target import Target
from secateur.nn.check import check
from secateur.nn.restore import restore_
from secateur.train import precision

TARGET = Target(density=0.4)
SHORT = dataclasses.replace(OPTIONS, prune_epochs=3, finetune_epochs=2, average=0.5)
LAST = torch.channels_last


class Killed(BaseException):
    """Stands for SIGKILL."""


def _kill(_):
    raise Killed


def run(folder, task, options=SHORT, target=TARGET):
    Pictures.trained_in.clear()
    return compress(task, target, out=folder, options=options)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """By layout the folder of a run, its result, and the strides it trained in."""
    found = {}
    for layout in (torch.contiguous_format, LAST):
        folder = tmp_path_factory.mktemp("layout") / "run"
        result = run(folder, conv_task(layout))
        found[layout] = folder, result, set(Pictures.trained_in)
    return found


def test_every_step_of_a_run_keeps_the_layout_it_was_given(both):
    for layout, (_, _, strides) in both.items():
        assert strides == {tuple(conv_task(layout).model[index].weight.stride() for index in (0, 3, 5))}
    assert both[LAST][2] != both[torch.contiguous_format][2]


@pytest.mark.parametrize("step", [4, 13, 21])
def test_a_run_in_channels_last_that_was_killed_goes_on_in_it_to_the_same_bytes(tmp_path, both, step):
    with pytest.raises(Killed):
        run(tmp_path / "run", conv_task(LAST, failing_loss(step, _kill)))
    run(tmp_path / "run", conv_task(LAST, failing_loss(-1, _kill)))
    assert set(Pictures.trained_in) == both[LAST][2]
    assert (tmp_path / "run" / "model.secat").read_bytes() == (both[LAST][0] / "model.secat").read_bytes()


def test_the_file_is_of_the_same_kind_and_restores_into_either_layout(both):
    (plain, one, _), (last, other, _) = both.values()
    files = [Artifact.load(folder / "model.secat") for folder in (plain, last)]
    assert [node.op for node in files[0].graph.nodes] == [node.op for node in files[1].graph.nodes]
    assert list(files[0].tensors) == list(files[1].tensors)
    assert one.density == pytest.approx(other.density)
    assert other.check.relative_difference < 1e-5
    images = conv_task().val[0][0]
    for layout in (torch.contiguous_format, LAST):
        restored = restore_(conv_task(layout).model.eval(), files[1])
        assert check(files[1], restored, images).relative_difference < 1e-5


def test_a_run_does_not_go_on_in_another_layout(both):
    with pytest.raises(DataError, match="model, structure"):
        run(both[LAST][0], conv_task())


def test_cutting_at_once_takes_it_too(tmp_path):
    options = dataclasses.replace(OPTIONS, **dict.fromkeys(("prune_epochs", "finetune_epochs", "lr", "threshold_lr")))
    result = run(tmp_path / "run", conv_task(LAST), dataclasses.replace(options, one_shot=2))
    assert result.check.relative_difference < 1e-5


HALF = dataclasses.replace(OPTIONS, precision="bfloat16", lr=None)


@pytest.fixture
def _everywhere(monkeypatch):
    """torch computes in bfloat16 on any processor, only slower on some: what is tested holds on all of them."""
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: True)


@pytest.mark.usefixtures("_everywhere")
@pytest.mark.parametrize("task", [tiny_task, lambda loss: conv_task(LAST, loss)])
def test_a_run_in_bfloat16_resumes_exactly_and_its_result_says_so(tmp_path, task):
    never = failing_loss(-1, _kill)
    whole = run(tmp_path / "whole", task(never), HALF)
    assert whole.schedule.precision == "bfloat16"
    assert whole.check.relative_difference < 1e-5
    notes = json.loads((tmp_path / "whole" / "report.json").read_text())["notes"]
    assert "Forward passes of training computed in bfloat16." in notes
    with pytest.raises(Killed):
        run(tmp_path / "run", task(failing_loss(75, _kill)), HALF)  # after the rates were tried
    assert list((tmp_path / "run").glob("state-*.state"))
    assert run(tmp_path / "run", task(never), HALF).to_json() == whole.to_json()
    full = run(tmp_path / "full", task(never), dataclasses.replace(HALF, precision="float32"))
    assert full.sha256 != whole.sha256
    with pytest.raises(DataError, match="settings, precision: bfloat16 then, float32 now"):
        run(tmp_path / "run", task(never), dataclasses.replace(HALF, precision="float32"))


def test_a_device_without_bfloat16_is_told_before_anything_is_tried(tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: False)
    with pytest.raises(TrainingError, match="no arithmetic in bfloat16"):
        run(tmp_path / "run", tiny_task(failing_loss(0, _kill)), HALF)
