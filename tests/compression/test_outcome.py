"""compression.outcome: what was missed and where a loss comes from, in words."""

import dataclasses

import numpy as np
import pytest
import torch
from tiny_task import OPTIONS, tiny_task
from torch import nn

from secateur.compression.compress import compress
from secateur.compression.outcome import checked_in_words
from secateur.errors import DataError, TargetError
from secateur.ir.artifact import Artifact
from secateur.ir.rules import Prune, Quantize
from secateur.ir.target import Target
from secateur.nn.check import Check
from secateur.nn.planning import plan
from secateur.reporting.comparison import compare
from secateur.reporting.report import Report

SHORT = dataclasses.replace(OPTIONS, prune_epochs=1, finetune_epochs=0)


def test_the_check_in_words():
    assert "at most 2e-07" in checked_in_words(Check(64, 1e-6, 2e-7, 1.0))
    assert "weights alone" in checked_in_words(None)


def test_a_loss_of_more_than_a_point_is_explained(tmp_path):
    short = dataclasses.replace(OPTIONS, prune_epochs=1, finetune_epochs=0)
    result = compress(tiny_task(), Target(density=0.02), out=tmp_path / "run", options=short)
    assert result.drop > 0.01
    assert "more than one point" in result.notes[0]
    assert "before hardening" in result.notes[0]
    assert result.met  # nobody asked for a max_drop


def test_a_file_that_differs_from_torch_is_a_miss(tmp_path, monkeypatch):
    """A planted fault: the reference gives something else than the file says."""
    from secateur.nn import check as checking

    whole = checking.interpret
    monkeypatch.setattr(checking, "interpret", lambda *inputs, **limits: np.asarray(whole(*inputs, **limits)) + 1)
    with pytest.raises(TargetError, match="the file differs from torch"):
        compress(tiny_task(), Target(density=0.3), out=tmp_path / "run", options=OPTIONS)


@pytest.mark.parametrize(("dtype", "fault"), [(torch.bfloat16, 0), (torch.float16, 0), (torch.bfloat16, 2e-4)])
def test_a_narrow_models_rounding_is_no_miss_and_a_planted_fault_is(tmp_path, monkeypatch, dtype, fault):
    """Its norm is folded in float32, which the model itself cannot hold; fault: of the largest output."""
    from secateur.nn import check as checking

    whole = checking.interpret

    def interpret(*inputs, **limits):
        found = np.asarray(whole(*inputs, **limits))
        return found + np.float32(fault * np.abs(found).max())

    monkeypatch.setattr(checking, "interpret", interpret)
    task = _in(tiny_task(), dtype)
    if fault:
        with pytest.raises(TargetError, match="the file differs from torch by 2"):
            compress(task, Target(density=0.5), out=tmp_path / "run", options=SHORT)
        return
    result = compress(task, Target(density=0.5), out=tmp_path / "run", options=SHORT)
    assert result.met
    assert result.check.relative_difference < 1e-5


def test_reports_of_runs_can_be_compared(unbroken):
    made = Report.load(unbroken / "report.json")
    (one, _) = compare({"one": made, "again": made}).runs
    assert (one.score.after.name, one.score.after.unit, one.score.after.higher_is_better) == (
        "accuracy",
        "fraction",
        True,
    )
    assert one.score.after.how == "the same, model.secat in torch"
    assert one.file_bytes == (unbroken / "model.secat").stat().st_size
    assert one.density == pytest.approx(0.3, abs=0.01)
    assert one.title == "Net, compressed"


def test_a_metric_that_is_no_accuracy_keeps_its_direction(tmp_path):
    task = dataclasses.replace(tiny_task(), metric=lambda y, labels: float(y.abs().mean()), higher_is_better=False)
    compress(task, Target(density=0.5), out=tmp_path / "run", options=OPTIONS)
    after = Report.load(tmp_path / "run" / "report.json").summary[0].after
    assert (after.name, after.unit, after.higher_is_better) == ("score", "1", False)


def test_without_validation_data_what_it_costs_is_said_to_be_unknown(tmp_path):
    task = dataclasses.replace(tiny_task(), val=[])
    once = dataclasses.replace(OPTIONS, prune_epochs=1, finetune_epochs=1)
    result = compress(task, Target(density=0.5), out=tmp_path / "run", options=once)
    assert "was not measured" in result.notes[0]
    assert result.check is not None
    again = compress(task, Target(density=0.5), out=tmp_path / "run", options=once)
    assert again.to_json() == result.to_json()
    with pytest.raises(DataError, match="max_drop needs a score"):
        compress(task, Target(max_drop=0.1), out=tmp_path / "other", options=once)


def test_what_stayed_frozen_is_told(tmp_path):
    task = tiny_task()
    task.model[1].momentum = 0.0
    short = dataclasses.replace(OPTIONS, prune_epochs=1, finetune_epochs=0)
    notes = compress(task, Target(density=0.5), out=tmp_path / "run", options=short).notes
    assert any(note.startswith("1 trained in evaluation mode") for note in notes)


class OfFour(nn.Module):
    """Its forward pass holds the number of examples, so that the graph is fixed to it."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 3)

    def forward(self, x):
        return self.second(self.first(x).relu().reshape(4, 16))


def test_what_packing_notes_is_in_the_result_and_on_the_page(tmp_path):
    task = tiny_task()
    batches = [(x[:4], y[:4]) for x, y in task.val]
    fixed = dataclasses.replace(task, model=OfFour(), example=batches[0][0], train=batches, val=batches)
    emptied = dataclasses.replace(SHORT, on_miss="warn")
    for name, given, target, told in (
        ("fixed", fixed, Target(density=0.5), "the batch is fixed at 4"),
        ("emptied", task, Target(density=1e-6), "is all zero: no output depends on the input through it"),
    ):
        result = compress(given, target, out=tmp_path / name, options=emptied)
        assert sum(told in note for note in result.notes) >= 1
        assert len(set(result.notes)) == len(result.notes)
        assert set(Artifact.load(tmp_path / name / "model.secat").meta["notes"]) <= set(result.notes)
        assert told in (tmp_path / name / "report.html").read_text()


class Scores(nn.Module):
    """Eight numbers as four pairs; scores of every pair with every other, 4 x 4 products of 2."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(2, 2), nn.Linear(8, 3)

    def forward(self, x):
        pairs = self.first(x.reshape(-1, 4, 2))
        return self.last(((pairs @ pairs.transpose(1, 2)).softmax(-1) @ pairs).flatten(1))


def test_products_of_maps_are_told_and_a_map_that_the_plan_does_not_see_counts(tmp_path, monkeypatch):
    task = dataclasses.replace(tiny_task(), model=Scores())
    told = compress(task, Target(density=0.5), out=tmp_path / "run", options=SHORT).notes
    products = 2 * 4 * 4 * 2
    assert any(note.startswith(f"Products of maps, as of queries and keys, take {products} more") for note in told)
    assert not any(
        "Products" in note
        for note in compress(tiny_task(), Target(density=0.5), out=tmp_path / "o", options=SHORT).notes
    )
    table = plan(task.model, task.example, quantize=Quantize(8), maps=Quantize(8))
    assert table.map("matmul").float_bytes == 64
    monkeypatch.setattr("secateur.nn.maps.placement.read_as_floats", lambda node, model: ([], 1))
    blind = plan(task.model, task.example, quantize=Quantize(8), maps=Quantize(8))
    assert "matmul" not in {row.name for row in blind.maps}
    with pytest.raises(TargetError, match="largest_map_bytes 48: got 64"):
        compress(task, Target(largest_map_bytes=48), out=tmp_path / "blind", plan=blind, options=SHORT)


def test_multiplications_of_kept_tensors_are_part_of_the_limit(tmp_path):
    task = tiny_task()
    rows = plan(task.model, task.example, prune=Prune()).replace("0.weight", prune=None)
    result = compress(task, Target(macs=250), out=tmp_path / "run", options=OPTIONS, plan=rows)
    assert result.macs[1] <= 250


def _in(task, dtype):
    """The task in another dtype, its loss and metric in float32."""

    def narrow(batches):
        return [(x.to(dtype), y) for x, y in batches]

    return dataclasses.replace(
        task,
        model=task.model.to(dtype),
        example=task.example.to(dtype),
        train=narrow(task.train),
        val=narrow(task.val),
        loss=lambda y, labels: task.loss(y.float(), labels),
        metric=lambda y, labels: task.metric(y.float(), labels),
    )
