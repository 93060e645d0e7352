"""compression.rounds: to a limit in rounds, or until validation loses too much; resumed; what cannot be done."""

import dataclasses
import json
import math

import pytest
import torch
from tiny_task import OPTIONS, failing_loss, tiny_task

from secateur.compression.compress import compress
from secateur.compression.options import MacAwareOptions
from secateur.compression.result import Compression
from secateur.compression.rounds import FINEST, ROUNDS, STEP, next_fraction
from secateur.errors import PlanError, TargetError
from secateur.ir.plan import Plan
from secateur.ir.rules import Prune, Quantize
from secateur.ir.target import Target
from secateur.nn.harden import harden_
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_
from secateur.reporting.rounds import Round

SHORT = dataclasses.replace(OPTIONS, prune_epochs=None, finetune_epochs=1, mac_aware=MacAwareOptions())
DENSE = 8 * 16 + 16 * 16 + 16 * 3
LOST = Target(max_drop=0.02)


class Killed(BaseException):
    """Stands for SIGKILL."""


def kill(found):
    raise Killed


def run(folder, target, task=None, **given):
    options = dataclasses.replace(SHORT, mac_aware=MacAwareOptions(**given))
    return compress(task or tiny_task(), target, out=folder, options=options)


def a_round(fraction, *, held):
    return Round(fraction, 0, "relative", 1.0, 10, 5, 0.9, 0.0, held, ())


def test_so_many_rounds_leave_equal_shares_down_to_the_goal():
    rounds, found = [], []
    while (fraction := next_fraction(rounds, 0.2, 3)) is not None:
        found.append(fraction)
        rounds.append(a_round(fraction, held=True))
    assert found == pytest.approx([0.2 ** (1 / 3), 0.2 ** (2 / 3), 0.2])


@pytest.mark.parametrize("limit", [0.05, 0.31, 0.5, 0.9, 1.1])
@pytest.mark.parametrize("goal", [0.0, 0.4])
def test_the_search_ends_beside_what_holds(limit, goal):
    """Against the truth that what keeps at least `limit` holds."""
    rounds = []
    while (fraction := next_fraction(rounds, goal, None)) is not None:
        rounds.append(a_round(fraction, held=fraction >= limit))
        assert len(rounds) < 20
    held = [one.fraction for one in rounds if one.held]
    assert rounds[0].fraction == STEP
    if limit > 1:
        assert not held
    elif limit <= goal:
        assert min(held) == goal
    else:
        assert not held or limit <= min(held) <= limit / STEP**0.25
        assert held or limit > FINEST * STEP**0.25


@pytest.mark.parametrize("goal", [1.0, 7.0])
def test_where_nothing_has_to_go_there_is_one_round(goal):
    assert next_fraction([], goal, None) == 1.0
    for held in (True, False):
        assert next_fraction([a_round(1.0, held=held)], goal, None) is None


@pytest.mark.parametrize("target", [Target(density=1.0, max_drop=0.5), Target(macs=10**9, max_drop=0.5)])
def test_a_limit_that_holds_from_the_start_is_only_judged(tmp_path, target):
    result = run(tmp_path / "run", target)
    assert result.met
    assert result.density == 1.0
    assert len(result.rounds) == 1


@pytest.fixture(scope="module")
def to_a_limit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("limit") / "run"
    return folder, run(folder, Target(macs=DENSE // 4), rounds=2)


@pytest.fixture(scope="module")
def to_a_drop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drop") / "run"
    return folder, run(folder, LOST, batches=1)


def test_rounds_to_a_limit_end_at_it_and_tell_every_round(to_a_limit):
    folder, result = to_a_limit
    assert result.met
    assert result.macs[1] <= DENSE // 4
    assert [one.started for one in result.rounds] == [0, 1]
    left = [sum(row.macs_left for row in one.tensors) for one in result.rounds]
    assert left == [one.macs_after for one in result.rounds]
    assert DENSE // 5 < left[1] <= DENSE // 4 < DENSE // 3 < left[0] <= DENSE // 2
    # everything that is gone by then counts as removed, by thresholds in the same unit
    assert [sum(row.removed for row in one.tensors) for one in result.rounds] == [DENSE - macs for macs in left]
    assert result.rounds[1].c > result.rounds[0].c
    assert any("2 rounds" in note for note in result.notes)
    assert Compression.from_json(result.to_json()).rounds == result.rounds
    assert not list(folder.glob("round-*.state"))


def test_the_plan_that_is_kept_starts_where_the_network_ended(to_a_limit):
    folder, result = to_a_limit
    hardened = harden_(prepare_(tiny_task().model, Plan.from_json((folder / "plan.json").read_text())))
    kept = {row.name: row.nonzeros for row in result.rounds[-1].tensors}
    # with the target, hardening keeps more where units died
    assert {row.name: row.nonzeros for row in hardened.tensors} == pytest.approx(kept, rel=0.2, abs=3)


def test_a_drop_ends_it_and_the_last_network_that_holds_is_packed(to_a_drop):
    folder, result = to_a_drop
    assert result.met
    assert result.drop <= LOST.max_drop
    rounds = result.rounds
    assert not rounds[-1].held
    assert rounds[-1].drop > LOST.max_drop
    best = min((one for one in rounds if one.held), key=lambda one: one.fraction)
    assert result.macs[1] <= best.fraction * DENSE
    assert result.score_packed == best.score
    assert all(one.started < number for number, one in enumerate(rounds, 1))
    epochs = json.loads((folder / "report.json").read_text())["training"]["epochs"]
    assert len(epochs) == sum(one.held for one in rounds)


def test_a_limit_and_a_drop_that_do_not_hold_together_are_said(tmp_path):
    with pytest.raises(TargetError, match=r"macs 25 and max_drop 0 do not hold together: tried \d+ multiply"):
        run(tmp_path / "run", Target(macs=25, max_drop=0.0))
    assert (tmp_path / "run" / "model.secat").exists()
    generous = run(tmp_path / "generous", Target(macs=int(0.8 * DENSE), max_drop=0.5))
    assert generous.met
    assert [one.fraction for one in generous.rounds] == pytest.approx([0.8], abs=0.01)


def test_a_drop_that_nothing_holds_is_said(tmp_path):
    worse = dataclasses.replace(tiny_task(), metric=_only(tiny_task().model))
    with pytest.raises(TargetError, match=r"max_drop 0\.01: every cut tried loses more"):
        run(tmp_path / "run", Target(max_drop=0.01), worse)


def test_where_the_cap_ends_it_that_is_told(tmp_path):
    result = run(tmp_path / "run", Target(max_drop=1.0), cap=0.4)
    assert result.met
    assert len(result.rounds) == 1
    assert any("at its cap" in note for note in result.notes)


@pytest.mark.parametrize("call", [2, 11])
def test_a_run_that_was_killed_ends_with_the_same_file(tmp_path, to_a_drop, call):
    """In the first and in the third round; 5 steps a round."""
    folder, result = to_a_drop
    with pytest.raises(Killed):
        run(tmp_path / "run", LOST, tiny_task(failing_loss(call, kill)), batches=1)
    assert run(tmp_path / "run", LOST, batches=1).to_json() == result.to_json()
    for name in ("model.secat", ROUNDS, "plan.json"):
        assert (tmp_path / "run" / name).read_bytes() == (folder / name).read_bytes()


def test_what_rounds_cannot_do_is_said_before_anything_is_trained(tmp_path):
    task = tiny_task()
    quantized = plan(task.model, task.example, prune=Prune(), quantize=Quantize(bits=8))
    options = dataclasses.replace(SHORT, mac_aware=MacAwareOptions(rounds=2))
    with pytest.raises(PlanError, match="do not quantize"):
        compress(task, Target(density=0.5), out=tmp_path / "a", plan=quantized, options=options)
    with pytest.raises(TargetError, match="leave the number of rounds away"):
        run(tmp_path / "b", Target(max_drop=0.1), rounds=2)
    with pytest.raises(TargetError, match="one limit"):
        run(tmp_path / "c", Target(packed_bytes=900))
    with pytest.raises(PlanError, match="did you mean 'linear'"):
        run(tmp_path / "d", Target(max_drop=0.1), allowance="linaer")
    with pytest.raises(TargetError, match="learns no thresholds"):
        dataclasses.replace(SHORT, prune_epochs=2)
    with pytest.raises(TargetError, match="rounds is how often"):
        MacAwareOptions(rounds=0)
    assert not list(tmp_path.glob("*/*.state"))


def test_without_validation_a_round_is_not_judged(tmp_path):
    result = run(tmp_path / "run", Target(density=0.5), dataclasses.replace(tiny_task(), val=[]))
    assert math.isnan(result.rounds[0].drop)
    assert result.rounds[0].held


def _only(dense):
    """A metric of 1 for the dense model's outputs, 0 for others."""
    wanted = [dense.eval()(batch) for batch, _ in tiny_task().val]

    def metric(outputs, labels):
        return float(any(outputs.shape == one.shape and torch.equal(outputs, one) for one in wanted))

    return metric
