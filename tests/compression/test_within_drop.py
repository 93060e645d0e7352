"""compression.within_drop: the sparsest network within a limit on validation, or that there is none; also resumed."""

import copy
import dataclasses

import pytest
import torch
from tiny_task import OPTIONS, failing_loss, tiny_task

from secateur.compression.compress import compress
from secateur.errors import TargetError
from secateur.ir.target import Target

LONGER = dataclasses.replace(OPTIONS, prune_epochs=8, finetune_epochs=1, save_seconds=1000)


class Killed(BaseException):
    """Stands for SIGKILL."""


def kill(found):
    raise Killed


def run(folder, target, task=None):
    return compress(task or tiny_task(), target, out=folder, options=LONGER)


def test_a_target_that_costs_little_is_taken_as_it_is(tmp_path):
    result = run(tmp_path / "run", Target(density=0.4, max_drop=0.1))
    assert result.met
    assert result.drop <= 0.1
    assert 0.2 < result.density <= 0.401


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("searched") / "run"
    return folder, run(folder, Target(max_drop=0.02))


def test_with_no_other_wish_the_sparsest_within_the_limit_is_found(searched):
    folder, result = searched
    assert result.met
    assert result.drop <= 0.02
    assert result.density < 0.8
    assert any("tried below it" in note for note in result.notes)
    assert not list(folder.glob("candidate-*.state"))


@pytest.mark.parametrize("call", [33, 40, 44, 48])
def test_a_search_that_was_killed_ends_with_the_same_file(tmp_path, searched, call):
    folder, _ = searched
    try:
        run(tmp_path / "run", Target(max_drop=0.02), tiny_task(failing_loss(call, kill)))
    except Killed:
        run(tmp_path / "run", Target(max_drop=0.02))
    assert (tmp_path / "run" / "model.secat").read_bytes() == (folder / "model.secat").read_bytes()


def test_a_limit_nothing_holds_is_said(tmp_path):
    worse = dataclasses.replace(tiny_task(), metric=_only(tiny_task().model))
    with pytest.raises(TargetError, match=r"max_drop 0\.01: density 0.3 loses .* and so does every density tried"):
        run(tmp_path / "run", Target(density=0.3, max_drop=0.01), worse)


def test_two_wishes_that_do_not_hold_together_are_said(tmp_path):
    with pytest.raises(TargetError, match=r"density 0.02 and max_drop 0.02 do not hold together"):
        run(tmp_path / "run", Target(density=0.02, max_drop=0.02))
    assert (tmp_path / "run" / "model.secat").exists()


def _only(model):
    """A metric that is right for the very outputs of one model."""
    model, batches = copy.deepcopy(model).eval(), tiny_task().val
    with torch.no_grad():
        right = [model(inputs) for inputs, _ in batches]
    return lambda outputs, labels: float(any(torch.allclose(outputs, found) for found in right))
