"""compression.line: scores are told as a loss in the metric's own direction; histograms survive an interruption."""

import copy
import dataclasses
import json

import pytest
from tiny_task import tiny_task

from secateur.errors import DataError, TargetError
from secateur.ir.target import Target
from secateur.nn.harden import harden_
from secateur.nn.prepare import prepare_
from secateur.nn.refit import NONE
from secateur.train.record import Fitted
from secateur.train.schedule import Schedule


def test_a_drop_is_a_loss_whichever_way_is_better(tmp_path, bare_line):
    task = tiny_task()
    assert bare_line(tmp_path, task).drop(bare_line(tmp_path, task).score_dense - 0.25) == pytest.approx(0.25)
    lower = dataclasses.replace(task, higher_is_better=False)
    assert bare_line(tmp_path, lower).drop(bare_line(tmp_path, lower).score_dense + 0.25) == pytest.approx(0.25)


def test_histograms_are_of_the_weights_before_fine_tuning_and_are_read_again(tmp_path, bare_line):
    schedule = Schedule(1, 1, seed=0)
    first = bare_line(tmp_path, tiny_task()).train("state", Target(density=0.5), schedule)
    again = bare_line(tmp_path, tiny_task()).train("state", Target(density=0.5), schedule)
    assert again.histograms == first.histograms
    assert [one.name for one in first.histograms] == ["0.weight", "4.weight", "6.weight"]
    assert all(sum(counts) == 128 for counts in first.histograms[0].series.values())
    drawn, row = first.histograms[0], first.fitted.hardening.tensors[0]
    bins = zip(drawn.series["after self-pruning"], drawn.edges, drawn.edges[1:], strict=False)
    assert sum(count for count, low, high in bins if min(abs(low), abs(high)) >= drawn.threshold) <= row.nonzeros
    assert json.loads((tmp_path / "state-weights.json").read_text())["histograms"]


def test_the_multiplications_of_kept_tensors_count(tmp_path, bare_line):
    task = tiny_task()
    whole = bare_line(tmp_path, task)
    kept = dataclasses.replace(whole, plan=whole.plan.replace("0.weight", prune=None))
    assert whole.aim(Target(macs=300)).macs == 300
    assert kept.aim(Target(macs=300)).macs == 300 - 8 * 16
    with pytest.raises(TargetError, match="what the plan keeps takes 128"):
        kept.aim(Target(macs=128))


def test_a_dense_model_without_a_score_is_told(tmp_path, bare_line):
    task = dataclasses.replace(tiny_task(), metric=lambda y, labels: float("nan"))
    with pytest.raises(DataError, match="score on validation is nan"):
        _ = bare_line(tmp_path, task).score_dense


@pytest.mark.parametrize("beyond", [-50, 50])
def test_a_file_that_left_its_limit_is_brought_back_and_a_density_alone_is_not(tmp_path, bare_line, beyond):
    made = bare_line(tmp_path)
    model = prepare_(copy.deepcopy(made.task.model), made.plan)
    hardening = harden_(model, Target(density=0.5))
    made.keep_histograms("state", model, hardening, "cut")
    fitted = Fitted((), hardening, 1.0, 1.0)
    whole = made.passed("state", model, fitted, Target(density=0.5))
    assert whole.refit == NONE
    limit = len(whole.artifact.to_bytes()) + beyond
    found = made.passed("state", model, fitted, Target(packed_bytes=limit))
    assert (found.refit.cut > 0, found.refit.grown > 0) == (beyond < 0, beyond > 0)
    assert limit - 30 < len(found.artifact.to_bytes()) <= limit
