"""compression.candidates: one row an epoch, the network kept at every step down, judged as if it were cut there."""

import copy
import dataclasses
import json

import pytest
import torch

from secateur.compression.candidates import EPOCHS, Candidates
from secateur.nn.prepare import prepare_
from secateur.nn.transform import transforms_of
from secateur.train.record import Record
from secateur.train.task import score


def record(line, epoch, density, phase="prune"):
    return Record(phase, epoch, 0.1, 0.9, {row.name: density for row in line.plan.pruned}, {}, {})


def test_a_network_is_kept_at_every_step_down_and_repeated_epochs_repeat(tmp_path, bare_line):
    line = bare_line(tmp_path)
    model = prepare_(copy.deepcopy(line.task.model), line.plan)
    candidates = Candidates(line, "state")
    for epoch, density in enumerate([0.9, 0.8, 0.7, 0.6, 0.55]):
        candidates.add(model, record(line, epoch, density))
    assert [row["epoch"] for row in candidates.kept] == [1, 3]
    assert [row["epoch"] for row in candidates.epochs] == [0, 1, 2, 3, 4]
    before = (tmp_path / EPOCHS).read_text()
    candidates.add(model, record(line, 3, 0.6))
    candidates.add(model, record(line, 4, 0.55))
    assert (tmp_path / EPOCHS).read_text() == before
    torch.testing.assert_close(candidates.state(0), model.state_dict())
    assert candidates.cut_to(0.6).density == 0.6


def test_it_is_judged_hard_and_stays_soft(tmp_path, bare_line):
    line = bare_line(tmp_path)
    model = prepare_(copy.deepcopy(line.task.model), line.plan)
    candidates = Candidates(line, "state")
    candidates.add(model, record(line, 0, 0.9))
    candidates.add(model, record(line, 1, 0.02))  # four weights: guessing
    soft = score(dataclasses.replace(line.task, model=model))
    first, second = (row["drop"] for row in candidates.epochs)
    assert first == pytest.approx(line.score_dense - soft, abs=0.05)
    assert second > 0.3
    assert not any(site.transform.is_hard for site in transforms_of(model))


def test_a_score_that_is_no_number_is_none(tmp_path, bare_line):
    line = bare_line(tmp_path)
    line.score_dense  # noqa: B018  # of the dense model it is a number
    line = dataclasses.replace(line, task=dataclasses.replace(line.task, metric=lambda y, labels: float("nan")))
    line.__dict__["score_dense"] = 1.0
    Candidates(line, "state").add(prepare_(copy.deepcopy(line.task.model), line.plan), record(line, 0, 0.5))
    assert json.loads((tmp_path / EPOCHS).read_text())["epochs"][0]["drop"] is None
