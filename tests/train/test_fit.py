"""train.fit: the reference loop reaches its target on a learnable toy problem, and stops on NaN."""

import copy
import dataclasses
import math

import pytest
import torch
from bright_quadrant import bright_quadrant_task
from torch import nn

from prepared import prepared, small_net
from secateur.errors import TrainingError
from secateur.ir.rules import Quantize
from secateur.ir.target import Target
from secateur.nn.harden import Hardening
from secateur.nn.transform import transforms_of
from secateur.train.distillation import Distillation
from secateur.train.fit import fit
from secateur.train.record import Record, Step
from secateur.train.schedule import Schedule
from secateur.train.task import Task, accuracy, score

SCHEDULE = Schedule(prune_epochs=12, finetune_epochs=6, lr=5e-3, threshold_lr=0.05)


def test_reaches_the_density_and_keeps_the_accuracy():
    events = []
    task = bright_quadrant_task(prepared())
    fitted = fit(task, Target(density=0.15), schedule=SCHEDULE, watch=events.append)
    assert fitted.hardening.density == pytest.approx(0.15, abs=0.002)
    assert score(task) == fitted.history[-1].score > 0.9
    assert [r.phase for r in fitted.history] == ["prune"] * 12 + ["finetune"] * 6
    assert sum(isinstance(e, Step) for e in events) == 18 * 5
    assert [e for e in events if isinstance(e, Record)] == list(fitted.history)
    assert fitted.score_hard <= 1
    assert all(site.transform.is_hard for site in transforms_of(task.model))


def test_the_same_seed_gives_the_same_run():
    runs = [fit(bright_quadrant_task(prepared()), Target(density=0.2), schedule=Schedule(2, 1)) for _ in range(2)]
    assert runs[0] == runs[1]


def test_a_nan_loss_stops_and_names_the_step():
    task = bright_quadrant_task(prepared())
    poisoned = Task(task.model, task.example, task.train, task.val, lambda y, t: task.loss(y, t) * math.nan, accuracy)
    with pytest.raises(TrainingError, match="prune, epoch 0, step 0"):
        fit(poisoned, Target(density=0.2), schedule=SCHEDULE)


def test_score_is_weighted_by_batch_size_and_restores_the_mode():
    task = bright_quadrant_task(prepared())
    model = nn.Sequential(nn.Dropout(), nn.Flatten(), nn.Linear(64, 3)).train()
    images, labels = task.val[0]
    ragged = Task(model, images[:2], [], [(images[:30], labels[:30]), (images[30:], labels[30:])], task.loss, accuracy)
    whole = Task(model, images[:2], [], [(images, labels)], task.loss, accuracy)
    assert score(ragged) == pytest.approx(score(whole))
    assert model.training


def test_a_short_run_reaches_its_target_with_the_rate_left_alone():
    task = bright_quadrant_task(prepared())
    fitted = fit(task, Target(density=0.15), schedule=Schedule(prune_epochs=24, finetune_epochs=6, lr=5e-3))
    soft = [r for r in fitted.history if r.phase == "prune"][-1].density
    weights = {"0.weight": 36, "4.weight": 576, "6.weight": 48}
    assert sum(soft[name] * size for name, size in weights.items()) / 660 == pytest.approx(0.15, rel=0.2)
    assert score(task) > 0.9


def test_hardening_is_told_and_terms_are_recorded():
    events = []
    task = bright_quadrant_task(prepared())
    fitted = fit(task, Target(density=0.2), schedule=Schedule(2, 1), watch=events.append)
    assert [event for event in events if isinstance(event, Hardening)] == [fitted.hardening]
    pruning, tuning = fitted.history[0], fitted.history[-1]
    assert set(pruning.terms) == {"task", "budget"}
    assert pruning.terms["task"] == pruning.loss
    cost, reference = pruning.costs["density"]
    assert 0.2 < reference < 1
    assert 0 < cost <= 1
    assert (set(tuning.terms), tuning.costs) == ({"task"}, {})


def test_the_term_of_quantization_is_recorded_where_widths_learn():
    task = bright_quadrant_task(prepared(quantize=Quantize((2, 4))))
    fitted = fit(task, Target(packed_bytes=700, values="int8"), schedule=Schedule(4, 1))
    found = [record.terms["quantization"] for record in fitted.history if record.phase == "prune"]
    assert found[0] == 0
    assert found[-1] > 0
    last = [record for record in fitted.history if record.phase == "prune"][-1]
    assert set(last.shares) == set(last.rounding) == {"0.weight", "4.weight", "6.weight"}
    for shares in last.shares.values():
        assert set(shares) == {"2", "3", "4"}
        assert sum(shares.values()) == pytest.approx(1)
    assert (fitted.history[-1].shares, fitted.history[-1].rounding) == ({}, {})


def test_distilling_needs_a_teacher_and_uses_it():
    task = bright_quadrant_task(prepared())
    distilled = Schedule(1, 0, distill=Distillation(1.0, match="outputs"))
    with pytest.raises(TrainingError, match="teacher"):
        fit(task, Target(density=0.2), schedule=distilled)
    teacher = small_net()
    before = copy.deepcopy(teacher.state_dict())
    fitted = fit(task, Target(density=0.2), schedule=distilled, teacher=teacher)
    assert fitted.history[0].terms["distillation"] > 0
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


def test_the_average_is_what_is_left():
    plain, averaged = (bright_quadrant_task(prepared()) for _ in range(2))
    fit(plain, Target(density=0.2), schedule=Schedule(2, 0))
    fit(averaged, Target(density=0.2), schedule=Schedule(2, 0, average=0.99))
    originals = [transforms_of(task.model)[0].original for task in (plain, averaged)]
    assert not torch.equal(*originals)


def smaller_is_better(task, **changed):
    """Judged by how small outputs are, which training spoils from its first step."""
    quiet = dataclasses.replace(task, metric=lambda y, _: -float(y.abs().mean()))
    return dataclasses.replace(quiet, **changed)


@pytest.mark.parametrize(
    "changed", [{}, {"metric": lambda y, _: float(y.abs().mean()), "higher_is_better": False}], ids=["higher", "lower"]
)
def test_where_fine_tuning_ends_worse_the_best_network_is_kept(changed):
    task, untuned = (smaller_is_better(bright_quadrant_task(prepared()), **changed) for _ in range(2))
    schedule = Schedule(2, 3, lr=5e-3, seed=1)
    fitted = fit(task, Target(density=0.5), schedule=schedule)
    fit(untuned, Target(density=0.5), schedule=dataclasses.replace(schedule, finetune_epochs=0))
    assert fitted.kept_epoch == -1
    assert score(task) == fitted.score_hard
    for found, expected in zip(task.model.state_dict().values(), untuned.model.state_dict().values(), strict=True):
        assert torch.equal(found, expected)


def test_where_it_ends_best_the_last_network_is_kept():
    task = bright_quadrant_task(prepared())
    fitted = fit(task, Target(density=0.5), schedule=Schedule(4, 2, lr=5e-3, seed=1, average=0.5))
    assert fitted.kept_epoch is None
    assert score(task) == fitted.history[-1].score


def test_without_fine_tuning_there_is_nothing_to_go_back_to():
    task = smaller_is_better(bright_quadrant_task(prepared()))
    assert fit(task, Target(density=0.5), schedule=Schedule(1, 0, lr=5e-3, seed=1)).kept_epoch is None
