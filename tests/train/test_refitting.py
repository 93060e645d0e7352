"""train.refitting: thrice while a loop fine-tunes, never at its very end; what went and came back is recorded, and the
file fills its limit without a cut after it."""

import dataclasses

import pytest
from bright_quadrant import bright_quadrant_task

from prepared import prepared
from secateur.ir.rules import Quantize
from secateur.ir.target import Target
from secateur.nn.pack import pack
from secateur.nn.refit import refit_
from secateur.nn.transform import transforms_of
from secateur.train import refitting
from secateur.train.fit import fit
from secateur.train.refitting import is_due
from secateur.train.schedule import Schedule


@pytest.mark.parametrize(
    ("epochs", "expected"), [(0, []), (1, []), (2, [0]), (3, [0, 1]), (4, [0, 1, 2]), (6, [1, 2, 4]), (10, [2, 4, 7])]
)
def test_it_is_due_after_each_quarter_but_the_last(epochs, expected):
    assert [epoch for epoch in range(epochs) if is_due(epoch, epochs)] == expected


@pytest.mark.parametrize("quantize", [None, Quantize(4)])
def test_a_file_fills_its_limit_after_fine_tuning(quantize):
    task = bright_quadrant_task(prepared(quantize=quantize))
    limit = Target(packed_bytes=330 if quantize else 700, values="int8" if quantize else "float32")
    fitted = fit(task, limit, schedule=Schedule(4, 8, lr=5e-3))
    size = len(pack(task.model, task.example, values=limit.values).to_bytes())
    assert 0.95 * limit.packed_bytes < size < 1.01 * limit.packed_bytes
    tuned = [record for record in fitted.history if record.phase == "finetune"]
    changed = [record.epoch for record in tuned if record.cut or record.grown]
    assert set(changed) <= {1, 3, 5}
    kept = sum(int(site.transform.prune.mask.sum()) for site in transforms_of(task.model))
    moved = sum(record.grown - record.cut for record in tuned)
    assert kept == sum(row.nonzeros for row in fitted.hardening.tensors) + moved


def test_what_comes_back_is_recorded_and_trained(monkeypatch):
    task = bright_quadrant_task(prepared())
    limit, before = Target(packed_bytes=700), {}

    def roomier(model, target, example):
        found = refit_(model, dataclasses.replace(target, packed_bytes=800), example)
        if found.grown:
            before.update((s.name, s.transform(s.original).detach().clone()) for s in transforms_of(model))
        return found

    monkeypatch.setattr(refitting, "refit_", roomier)
    fitted = fit(task, limit, schedule=Schedule(4, 4, lr=5e-3))
    first = next(record for record in fitted.history if record.phase == "finetune")
    assert first.grown > 0
    assert first.cut == 0
    after = {site.name: site.transform(site.original) for site in transforms_of(task.model)}
    assert all(((after[name] != was) | (was == 0)).any() for name, was in before.items())
