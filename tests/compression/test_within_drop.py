"""compression.within_drop: the sparsest network within a limit on validation, or that there is none; also resumed."""

import copy
import dataclasses
import json

import pytest
import torch
from tiny_task import OPTIONS, failing_loss, tiny_task

from secateur.compression import within_drop
from secateur.compression.candidates import EPOCHS, Candidates
from secateur.compression.compress import compress
from secateur.compression.trials import TRIALS, Trials
from secateur.errors import DataError, TargetError
from secateur.ir.rules import Prune, Quantize
from secateur.ir.target import Target
from secateur.nn.planning import plan
from secateur.reporting.report import Report

LONGER = dataclasses.replace(OPTIONS, prune_epochs=8, finetune_epochs=1, save_seconds=1000)
FASTER = dataclasses.replace(LONGER, prune_epochs=14, threshold_lr=0.2)
"""Thresholds that pass all that the network can do without after four epochs of fourteen."""


class Killed(BaseException):
    """Stands for SIGKILL."""


def kill(found):
    raise Killed


def run(folder, target, task=None, options=LONGER):
    return compress(task or tiny_task(), target, out=folder, options=options)


def test_a_target_that_costs_little_is_taken_as_it_is(tmp_path):
    result = run(tmp_path / "run", Target(density=0.4, max_drop=0.1))
    assert result.met
    assert result.drop <= 0.1
    assert 0.2 < result.density <= 0.401


def test_with_no_other_wish_the_sparsest_within_the_limit_is_found(tmp_path):
    result = run(tmp_path / "run", Target(max_drop=0.02))
    assert result.met
    assert result.drop <= 0.02
    assert result.density < 0.8
    assert any("the sparsest within max_drop is what was packed" in note for note in result.notes)
    assert not any("stopped" in note for note in result.notes)
    assert not list((tmp_path / "run").glob("candidate-*.state"))


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stopped") / "run"
    return folder, run(folder, Target(max_drop=0.02), options=FASTER)


def test_self_pruning_stops_once_a_trial_shows_that_the_limit_is_passed(stopped):
    folder, result = stopped
    assert result.met
    assert result.drop <= 0.02
    epochs = json.loads((folder / EPOCHS).read_text())["epochs"]
    assert len(epochs) < 10
    assert all(row["drop"] > 0.02 for row in epochs[-2:])
    assert epochs[-3]["drop"] <= 0.02
    tried = json.loads((folder / TRIALS).read_text())["drops"]
    assert tried[str(sum(row["kept"] for row in epochs) - 1)] > 0.02
    assert min(row["density"] for row in epochs) < result.density
    (told,) = [note for note in result.notes if "self-pruning stopped" in note]
    assert told.startswith(f"self-pruning stopped after epoch {len(epochs)} of 14, at density")
    assert "max_drop is 0.02" in told


def test_the_report_of_a_stopped_run_has_the_epochs_that_led_to_what_was_packed(stopped):
    folder, _ = stopped
    phases = [epoch.phase for epoch in Report.load(folder / "report.json").training.epochs]
    assert phases[-1] == "finetune"
    assert phases[:-1] == ["prune"] * (len(phases) - 1)
    assert 0 < len(phases[:-1]) < len(json.loads((folder / EPOCHS).read_text())["epochs"])


@pytest.mark.parametrize("call", [3, 12, 24, 27, 33, 38])
def test_a_run_that_was_killed_ends_with_the_same_file(tmp_path, stopped, call):
    """While it prunes itself (5 steps an epoch), in the trial after epoch 5, and in the bisection afterwards."""
    folder, result = stopped
    with pytest.raises(Killed):
        run(tmp_path / "run", Target(max_drop=0.02), tiny_task(failing_loss(call, kill)), FASTER)
    again = run(tmp_path / "run", Target(max_drop=0.02), options=FASTER)
    assert (tmp_path / "run" / "model.secat").read_bytes() == (folder / "model.secat").read_bytes()
    assert again.to_json() == result.to_json()


def test_a_stopped_run_resumes_exactly_with_states_inside_an_epoch_and_an_average(tmp_path):
    options = dataclasses.replace(FASTER, average=0.5, save_seconds=0)
    whole = run(tmp_path / "whole", Target(max_drop=0.02), options=options)
    assert any("self-pruning stopped" in note for note in whole.notes)
    with pytest.raises(Killed):
        run(tmp_path / "run", Target(max_drop=0.02), tiny_task(failing_loss(23, kill)), options)
    assert run(tmp_path / "run", Target(max_drop=0.02), options=options).to_json() == whole.to_json()


def test_a_limit_nothing_holds_is_said(tmp_path):
    worse = dataclasses.replace(tiny_task(), metric=_only(tiny_task().model))
    with pytest.raises(TargetError, match=r"max_drop 0\.01: every density tried loses more \(density 0.\d+ loses 1\)"):
        run(tmp_path / "run", Target(density=0.3, max_drop=0.01), worse)
    assert (tmp_path / "run" / "model.secat").exists()


def test_two_wishes_that_do_not_hold_together_are_said(tmp_path):
    with pytest.raises(TargetError, match=r"density 0.02 and max_drop 0.02 do not hold together: it loses"):
        run(tmp_path / "run", Target(density=0.02, max_drop=0.02))
    with pytest.raises(TargetError, match=r"density 0.02 and max_drop 0.02 .* together: self-pruning stopped before"):
        run(tmp_path / "faster", Target(density=0.02, max_drop=0.02), options=FASTER)
    assert (tmp_path / "faster" / "model.secat").exists()


WEIGHTS, MAPS = {"quantize": Quantize((2, 4))}, {"maps": Quantize((4, 8))}
QUICK = dataclasses.replace(LONGER, prune_epochs=2)


@pytest.mark.parametrize(
    ("rules", "limit"),
    [(WEIGHTS, {"average_bits": 3}), (WEIGHTS, {"packed_bytes": 1500}), (MAPS, {"largest_map_bytes": 16})],
)
def test_the_drop_of_a_plan_that_prunes_nothing_is_only_judged(tmp_path, rules, limit):
    task = tiny_task()
    rows = plan(task.model, task.example, **rules)
    result = compress(task, Target(max_drop=0.5, **limit), out=tmp_path / "run", plan=rows, options=QUICK)
    assert result.met
    assert result.drop <= 0.5
    worse = dataclasses.replace(task, metric=_only(task.model))
    with pytest.raises(TargetError, match=r"missed: max_drop 0\.5: lost 1 on validation"):
        compress(worse, Target(max_drop=0.5, **limit), out=tmp_path / "worse", plan=rows, options=QUICK)


def test_max_drop_alone_has_nothing_to_search_in_a_plan_that_prunes_nothing(tmp_path):
    task = tiny_task()
    for rules in ({}, WEIGHTS, MAPS):
        rows = plan(task.model, task.example, **rules)
        with pytest.raises(TargetError, match="this plan prunes nothing: say what to reach as well, average_bits"):
            compress(task, Target(max_drop=0.5), out=tmp_path / "run", plan=rows, options=LONGER)
    assert not (tmp_path / "run").exists()


def test_a_drop_that_cannot_be_judged_is_refused_before_anything_is_trained(tmp_path):
    task = tiny_task(val=[])
    rows = plan(task.model, task.example, prune=Prune("balanced", n=4, m=8))
    with pytest.raises(DataError, match="max_drop needs a score"):
        compress(task, Target(max_drop=0.5), out=tmp_path / "run", plan=rows, options=LONGER)
    assert not list((tmp_path / "run").glob("*.state"))


@pytest.mark.parametrize(
    ("drops", "tried", "beyond"),
    [
        ([0.0, 0.03], {}, False),  # one epoch can be an accident
        ([0.03, 0.0, 0.03], {}, False),
        ([0.0, 0.03, 0.04], {}, True),
        ([0.03, 0.03, None, 0.05], {}, True),  # no number is beyond any limit
        ([0.01, 0.01], {}, False),
        ([0.04, 0.05, 0.06, 0.06], {1: 0.01}, False),  # 0.04 was won back
        ([0.04, 0.05, 0.07, 0.08], {1: 0.01}, True),
        ([0.0, 0.05, 0.03, 0.03], {0: 0.01}, True),  # fine-tuning that lost counts for nothing
    ],
)
def test_beyond_is_more_than_fine_tuning_was_seen_to_win_back(tmp_path, bare_line, drops, tried, beyond):
    line = bare_line(tmp_path)
    rows = [{"epoch": n, "density": 0.8**n, "drop": drop, "kept": True} for n, drop in enumerate(drops)]
    line.folder.write_json(EPOCHS, {"epochs": rows})
    line.folder.write_json(TRIALS, {"drops": {str(number): drop for number, drop in tried.items()}})
    candidates = Candidates(line, "state")
    trials = Trials(line, candidates, within_drop.Schedule(), 0.02)
    assert within_drop._beyond(line, candidates, trials, 0.02) is beyond


def _only(model):
    """A metric that is right for the very outputs of one model."""
    model, batches = copy.deepcopy(model).eval(), tiny_task().val
    with torch.no_grad():
        right = [model(inputs) for inputs, _ in batches]
    return lambda outputs, labels: float(any(torch.allclose(outputs, found) for found in right))
