"""`check` passes what holds and ends with 1 where something does not."""

import dataclasses

import numpy as np
import pytest
import torch

from secateur.ir.formats import from_dense
from secateur.nn import check
from secateur.nn.pack import pack
from secateur.train.loading import load_task


def test_a_file_alone(secateur, packed):
    ran = secateur("check", packed)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.splitlines()[0].startswith("ok")
    assert secateur("check", packed, "--json").json["passed"] is True


def test_against_its_task(secateur, packed, task_name):
    data = secateur("check", packed, "--task", task_name, "--max-drop", "0.5", "--json").json
    assert [finding["name"] for finding in data["findings"]] == ["file", "run", "equals torch", "metric on validation"]
    assert data["passed"] is True


def test_a_drop_beyond_the_limit_fails(secateur, task_name, artifact, tmp_path):
    weight = artifact.tensors["2.weight"].to_dense()
    wrong = dataclasses.replace(artifact, tensors={**artifact.tensors, "2.weight": from_dense(-weight)})
    wrong.save(tmp_path / "wrong.secat")
    ran = secateur("check", tmp_path / "wrong.secat", "--task", task_name, "--max-drop", "0.1")
    assert ran.status == 1
    failed = [line for line in ran.out.splitlines() if line.startswith("FAILED")]
    assert len(failed) == 1
    assert "metric on validation" in failed[0]
    assert "(at most 0.1)" in failed[0]
    assert secateur("check", tmp_path / "wrong.secat", "--task", task_name).status == 0  # without a limit: told only


def test_lower_is_better_turns_the_drop_round(secateur, packed, task_name):
    name = task_name.replace(":build", ":lower_is_better")
    found = secateur("check", packed, "--task", name, "--max-drop", "-100", "--json").json["findings"][-1]
    words = found["found"].replace(",", "").split()
    dense, packed_loss = float(words[1]), float(words[3])
    assert packed_loss - dense == pytest.approx(float(words[words.index("drop") + 1]), rel=0.02)
    assert found["passed"] is False


def test_infinite_outputs_fail(secateur, artifact, tmp_path):
    bias = np.full(2, np.inf, np.float32)
    broken = dataclasses.replace(artifact, tensors={**artifact.tensors, "2.bias": from_dense(bias)})
    broken.save(tmp_path / "broken.secat")
    ran = secateur("check", tmp_path / "broken.secat")
    assert ran.status == 1
    assert "FAILED  run" in ran.out


@pytest.mark.parametrize(("tolerance", "status"), [("0.4", 1), ("0.6", 0)])
def test_a_difference_is_held_against_the_tolerance(secateur, packed, task_name, monkeypatch, tolerance, status):
    honest = check.check_file
    monkeypatch.setattr(
        check,
        "check_file",
        lambda *given, **limits: dataclasses.replace(honest(*given, **limits), relative_difference=0.5),
    )
    ran = secateur("check", packed, "--task", task_name, "--tolerance", tolerance)
    assert ran.status == status
    assert f"{'FAILED' if status else 'ok    '}  equals torch: 5.0e-01 of the largest output" in ran.out


@pytest.mark.parametrize("tolerance", ["-1", "nan", "inf"])
def test_a_tolerance_that_is_none_is_refused(secateur, packed, task_name, tolerance):
    ran = secateur("check", packed, "--task", task_name, "--tolerance", tolerance)
    assert ran.status == 2
    assert "--tolerance is a share of the largest output, 0 or more" in ran.err


def test_the_dense_model_comes_from_a_checkpoint(secateur, packed, task_name, tmp_path):
    model = load_task(task_name).model
    with torch.no_grad():
        model[2].weight.neg_()
    torch.save({"epoch": 3, "state_dict": model.state_dict()}, tmp_path / "ck.pt")
    ran = secateur("check", packed, "--task", task_name, "--checkpoint", tmp_path / "ck.pt", "--json")
    assert "model 0.015625, artifact 1 " in ran.json["findings"][-1]["found"]


def test_weights_alone_are_restored_and_judged(secateur, artifact, task_name, tmp_path):
    task = load_task(task_name)
    whole = pack(task.model, task.example)
    dataclasses.replace(whole, graph=None, meta={"weights_only": "test"}).save(tmp_path / "w.secat")
    ran = secateur("check", tmp_path / "w.secat", "--task", task_name, "--max-drop", "0")
    assert ran.status == 0
    assert "weights only" in ran.out


@pytest.mark.parametrize("limit", ["--max-drop", "--tolerance"])
def test_limits_need_a_task(secateur, packed, limit):
    ran = secateur("check", packed, limit, "0.1")
    assert ran.status == 2
    assert "name the task too, --task" in ran.err


def test_a_damaged_file_is_bad_input(secateur, packed):
    data = bytearray(packed.read_bytes())
    data[-9] ^= 1
    packed.write_bytes(data)
    assert secateur("check", packed).status == 2


def test_an_artifact_with_a_fixed_batch_runs_such_batches_in_turn(secateur, task_name, tmp_path):
    name, file = task_name.replace(":build", ":fixed_batch"), tmp_path / "fixed.secat"
    assert secateur("pack", name, "-o", file).status == 0
    ran = secateur("check", file, "--task", name, "--max-drop", "0")
    assert ran.status == 0
    assert "on 2 examples" in ran.out
    ran = secateur("check", file, "--task", task_name.replace(":build", ":batches_of_three"))
    assert ran.status == 2
    assert "batches of 2 alone" in ran.err


def test_limits_are_those_of_the_user(secateur, packed, task_name):
    for limit in (("--max-bytes", 700), ("--max-seconds", 0)):
        ran = secateur("check", packed, "--task", task_name, *limit)
        assert ran.status == 2
        assert "allowed" in ran.err


def test_a_task_without_validation_data_is_told(secateur, packed, task_name):
    ran = secateur("check", packed, "--task", task_name.replace(":build", ":no_validation"))
    assert ran.status == 2
    assert "val has no batch" in ran.err


def test_without_labels_the_file_is_compared_and_its_score_said_to_be_unknown(secateur, packed, task_name):
    task = task_name.replace(":build", ":no_labels")
    ran = secateur("check", packed, "--task", task)
    assert ran.status == 0, ran.err
    assert "metric on validation: not measured: the batches of the task's val are inputs without labels" in ran.out
    ran = secateur("check", packed, "--task", task, "--max-drop", "0.5")
    assert ran.status == 2
    assert "--max-drop needs a score" in ran.err
