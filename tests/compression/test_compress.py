"""compress(): the whole line, its result and files; whatever happens to a run, going on gives the same bytes."""

import dataclasses
import errno
import json
import os
import signal
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from tiny_task import OPTIONS, STEPS, Net, Noisy, failing_loss, tiny_task
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from recomputed_nets import IGNORED, UTILITIES
from secateur.compression.compress import compress
from secateur.compression.options import Options
from secateur.compression.result import Compression
from secateur.compression.suiting import RATES
from secateur.errors import ArtifactError, DataError, SecateurWarning, TargetError, TrainingError
from secateur.ir import storage
from secateur.ir.artifact import Artifact
from secateur.ir.execute import interpret
from secateur.ir.rules import Prune
from secateur.ir.target import Target
from secateur.nn.planning import plan
from secateur.nn.restore import restore_
from secateur.train.distillation import Distillation
from secateur.train.task import Task, accuracy

TARGET = Target(density=0.3)


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours may catch it."""


def run(folder, task=None, target=TARGET, **more):
    return compress(task or tiny_task(), target, out=folder, options=more.pop("options", OPTIONS), **more)


def test_every_tensor_is_told_and_the_files_are_there(unbroken):
    result = Compression.from_json((unbroken / "result.json").read_text())
    names = [name for name, _ in tiny_task().model.named_parameters()]
    assert [row.name for row in result.layers] == names
    assert {row.fate for row in result.layers} == {"pruned", "skipped"}
    assert all(row.reason for row in result.layers if row.fate == "skipped")
    assert result.density <= 0.3
    assert result.met
    assert result.check.relative_difference < 1e-5
    assert result.score_packed > 0.9
    artifact = Artifact.load(unbroken / "model.secat")
    assert result.file_bytes == len(artifact.to_bytes()) == (unbroken / "model.secat").stat().st_size
    assert json.loads((unbroken / "report.json").read_text())["layers"][0]["histogram"]
    assert "<html" in (unbroken / "report.html").read_text()
    assert not list(unbroken.glob("*.part"))


def test_the_tasks_model_and_random_numbers_stay(tmp_path):
    task = tiny_task()
    before = {name: tensor.clone() for name, tensor in task.model.state_dict().items()}
    torch.manual_seed(5)
    np.random.seed(5)
    expected = torch.rand(1), np.random.rand()
    torch.manual_seed(5)
    np.random.seed(5)
    run(tmp_path / "run", task)
    assert (torch.rand(1), np.random.rand()) == expected
    assert all(torch.equal(tensor, before[name]) for name, tensor in task.model.state_dict().items())


def test_a_complete_run_is_read(unbroken):
    stamp = (unbroken / "model.secat").stat().st_mtime_ns
    told = json.loads((unbroken / "result.json").read_text())
    assert run(unbroken, tiny_task(failing_loss(0, _kill))).sha256 == told["sha256"]
    assert (unbroken / "model.secat").stat().st_mtime_ns == stamp


@pytest.mark.parametrize("after", range(0, 44, 6))
def test_killed_at_any_write_the_run_goes_on_to_the_same_bytes(tmp_path, monkeypatch, same_file, after):
    """A kill before the rename of any file, its temporary file left behind, also while packing and reporting."""
    whole, calls = os.replace, iter(range(10**6))

    def replace(source, target):
        if next(calls) == after:
            os.rename(source, f"{source}.copy.part")  # what a kill leaves
            raise Killed
        whole(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(storage.os, "replace", replace)
        with pytest.raises(Killed):
            run(tmp_path / "run")
    assert same_file(tmp_path / "run")
    assert not list((tmp_path / "run").glob(".*.part"))


@pytest.mark.parametrize("after", range(1, 44, 9))
def test_killed_after_any_write_too(tmp_path, monkeypatch, same_file, after):
    whole, calls = os.replace, iter(range(10**6))

    def replace(source, target):
        whole(source, target)
        if next(calls) == after:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(storage.os, "replace", replace)
        with pytest.raises(Killed):
            run(tmp_path / "run")
    assert same_file(tmp_path / "run")


def test_killed_after_the_last_write_a_run_is_complete(tmp_path, monkeypatch, same_file):
    written = []
    whole = os.replace
    monkeypatch.setattr(storage.os, "replace", lambda source, target: (whole(source, target), written.append(target)))
    run(tmp_path / "run")
    assert [os.path.basename(path) for path in written[-4:]] == [
        "model.secat", "report.html", "report.json", "result.json",
    ]  # fmt: skip
    assert len(written) > 40
    assert same_file(tmp_path / "run")


def test_a_state_that_is_damaged_is_told_and_the_one_before_is_used(tmp_path, monkeypatch, same_file, unbroken):
    folder = tmp_path / "run"
    with pytest.raises(Killed):
        run(folder, tiny_task(failing_loss(14, _kill)))
    newest = max(folder.glob("state-?.state"), key=lambda path: path.stat().st_mtime_ns)
    newest.write_bytes(newest.read_bytes()[:-100])
    with pytest.warns(SecateurWarning, match="the other state is used"):
        assert same_file(folder)


@pytest.mark.parametrize("step", [0, 7, 22, STEPS - 1])
def test_interrupted_once_it_finishes_the_step_and_says_how_to_go_on(tmp_path, same_file, step):
    def interrupt(found):
        os.kill(os.getpid(), signal.SIGINT)
        return found

    folder, before = tmp_path / "run", signal.getsignal(signal.SIGINT)  # ignored where the tests run in the background
    with pytest.raises(KeyboardInterrupt, match="the same command goes on"):
        run(folder, tiny_task(failing_loss(step, interrupt)))
    assert signal.getsignal(signal.SIGINT) is before
    assert same_file(folder)


def test_interrupted_twice_it_stops_at_once_and_nothing_is_damaged(tmp_path, same_file):
    def interrupt(found):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("it went on")

    with pytest.raises(KeyboardInterrupt, match="at once"):
        run(tmp_path / "run", tiny_task(failing_loss(13, interrupt)))
    assert same_file(tmp_path / "run")


def test_a_full_disk_stops_with_a_clear_error_and_the_last_state_stays(tmp_path, monkeypatch, same_file):
    whole, calls = os.fsync, iter(range(10**6))

    def fsync(number):
        if next(calls) == 12:
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(number)

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(storage.os, "fsync", fsync)
        with pytest.raises(TrainingError, match=r"No space left on device.*make room"):
            run(folder)
    assert not list(folder.glob(".*.part"))
    assert same_file(folder)


def test_a_folder_that_takes_no_files_is_told_before_training(tmp_path, monkeypatch):
    def trained(outputs, labels):
        raise AssertionError("trained before the folder was tried")

    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot make the folder"):
        run(tmp_path / "file" / "run", tiny_task(trained))

    def refuse(**where):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(storage.tempfile, "TemporaryFile", refuse)
    with pytest.raises(DataError, match=r"cannot write into .*Permission denied"):
        run(tmp_path / "run", tiny_task(trained))


def test_a_loss_that_is_no_number_names_layer_and_step_and_keeps_the_last_state(tmp_path, same_file):
    folder = tmp_path / "run"
    with pytest.raises(TrainingError, match=r"prune, epoch 1, step 7.*the loss function made it"):
        run(folder, tiny_task(failing_loss(7, lambda found: found * float("nan"))))
    assert same_file(folder)


def test_an_error_of_the_loader_passes_through_with_its_batch_and_nothing_is_lost(tmp_path, same_file):
    folder = tmp_path / "run"
    broken = Noisy(1, 100, broken_at=190)  # after what the fingerprint reads
    task = tiny_task(train=DataLoader(broken, batch_size=20, shuffle=True))
    with pytest.raises(RuntimeError, match="no such image") as raised:
        run(folder, task)
    assert raised.value.__notes__ == ["while batch 2 of 5 was loaded (prune, epoch 1, step 7)"]
    assert same_file(folder)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"target": Target(density=0.4)}, "target, density: 0.3 then, 0.4 now"),
        ({"options": dataclasses.replace(OPTIONS, seed=1)}, "settings, seed: 0 then, 1 now"),
        ({"task": tiny_task(train=DataLoader(Noisy(3, 100), 20, shuffle=True))}, "data, first batch of train"),
        ({"task": tiny_task(train=DataLoader(Noisy(1, 120), 20, shuffle=True))}, "batches of train: 5 then, 6 now"),
        ({"task": dataclasses.replace(tiny_task(), metric=lambda outputs, labels: 1.0)}, "code, test_compress.py"),
    ],
)
def test_another_run_is_refused_with_the_difference(tmp_path, unbroken, change, told):
    with pytest.raises(DataError, match=told):
        run(unbroken, **change)


def test_changed_weights_plan_or_threads_are_refused(unbroken):
    task = tiny_task()
    with torch.no_grad():
        task.model[0].weight[0, 0] += 1
    with pytest.raises(DataError, match="model, weights"):
        run(unbroken, task)
    kept = plan(task.model, task.example, prune=Prune()).replace("6.weight", prune=None)
    with pytest.raises(DataError, match="plan: "):
        run(unbroken, plan=kept)


def test_a_folder_of_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(DataError, match=r"not empty \(thesis.tex\)"):
        run(tmp_path)


def test_a_missed_target_is_an_error_or_a_warning_and_the_files_are_there(tmp_path):
    loud = dataclasses.replace(OPTIONS, on_miss="warn")
    never = Target(density=0.05, max_drop=0.0)
    with pytest.raises(TargetError, match=r"the target was missed: .*max_drop 0"):
        run(tmp_path / "run", target=never)
    assert (tmp_path / "run" / "model.secat").exists()
    with pytest.warns(SecateurWarning, match="the target was missed"):
        assert run(tmp_path / "run", target=never, options=loud).missed


def test_limits_on_bytes_and_macs_hold_for_the_file(tmp_path):
    result = run(tmp_path / "run", target=Target(macs=150, packed_bytes=900, values="float16"))
    assert result.file_bytes <= 900
    assert result.macs[1] <= 150
    assert result.file_bytes > 870 or result.macs[1] > 145


def test_the_room_that_dead_units_leave_is_used(tmp_path):
    """Half of the first layer's units are fed by next to nothing and die; without them the file would be far below."""
    task = tiny_task()
    with torch.no_grad():
        task.model[0].weight[8:] *= 0.02
        task.model[0].bias[8:] -= 1
    result = run(tmp_path / "run", task, target=Target(packed_bytes=1100))
    assert any(row.nonzeros < row.weights for row in result.layers)
    assert 1060 < result.file_bytes <= 1100


def test_average_and_distillation_resume_exactly_too(tmp_path):
    options = dataclasses.replace(OPTIONS, average=0.9, distill=Distillation(0.5))
    run(tmp_path / "whole", options=options)
    with pytest.raises(Killed):
        run(tmp_path / "broken", tiny_task(failing_loss(21, _kill)), options=options)
    run(tmp_path / "broken", options=options)
    whole, broken = ((tmp_path / name / "model.secat").read_bytes() for name in ("whole", "broken"))
    assert whole == broken
    terms = json.loads((tmp_path / "whole" / "report.json").read_text())["training"]["epochs"][0]["terms"]
    assert set(terms) == {"task", "budget", "distillation"}


@pytest.mark.slow
def test_a_loader_with_workers_resumes_exactly_too(tmp_path):
    def task(step=-1):
        return tiny_task(
            failing_loss(step, _kill), train=DataLoader(Noisy(1, 100), batch_size=20, shuffle=True, num_workers=1)
        )

    options = dataclasses.replace(OPTIONS, prune_epochs=2, finetune_epochs=0)
    run(tmp_path / "whole", task(), options=options)
    with pytest.raises(Killed):
        run(tmp_path / "broken", task(7), options=options)
    run(tmp_path / "broken", task(), options=options)
    whole, broken = ((tmp_path / name / "model.secat").read_bytes() for name in ("whole", "broken"))
    assert whole == broken


def test_data_that_does_not_replay_is_told_at_the_start(tmp_path):
    draw = np.random.default_rng()  # seeded by nobody

    class Own(Noisy):
        def __getitem__(self, index):
            point, label = super().__getitem__(index)
            return point + 0.01 * float(draw.random()), label

    task = tiny_task(train=DataLoader(Own(1, 100), batch_size=20, shuffle=True))
    with pytest.warns(SecateurWarning, match="does not come in the same order twice"):
        run(tmp_path / "run", task)


def test_limits_that_contradict_each_other_are_refused_before_training(tmp_path):
    for name, limit in (("bytes", {"packed_bytes": 1000}), ("macs", {"macs": 50})):
        with pytest.raises(TargetError, match=r"density 1 and .* contradict each other"):
            run(tmp_path / name, target=Target(density=1.0, **limit))
        assert not list((tmp_path / name).glob("*.state"))  # another target can have the folder
        with (
            pytest.warns(SecateurWarning, match=r"density 0\.9 and .* contradict each other: .* unless units die"),
            pytest.raises(TargetError, match=r"density 0\.9 leaves .*, the limit is"),
        ):
            run(tmp_path / f"uncertain {name}", target=Target(density=0.9, **limit))


def test_what_was_chosen_is_kept_for_the_rest_of_the_run(tmp_path):
    options = dataclasses.replace(OPTIONS, lr=None)
    with pytest.raises(Killed):
        run(tmp_path / "run", tiny_task(failing_loss(70, _kill)), options=options)
    told = json.loads((tmp_path / "run" / "schedule.json").read_text())
    assert told["lr"] in RATES
    assert run(tmp_path / "run", options=options).schedule.lr == told["lr"]


def _kill(_):
    raise Killed


class Two(nn.Module):
    """A model of two inputs."""

    def __init__(self):
        super().__init__()
        self.first, self.second = Net(), Net()

    def forward(self, one, other):
        return self.first(one) + self.second(other)


@pytest.mark.parametrize("changed", [{}, {"one_shot": 2}, {"distill": Distillation(0.5)}])
def test_a_model_of_several_inputs_goes_the_whole_way(tmp_path, changed):
    """As a DataLoader gives them: a list of two."""
    x, y = torch.randn(40, 8), torch.randint(0, 3, (40,))
    batches = DataLoader([((x[i], -x[i]), y[i]) for i in range(40)], batch_size=20)
    task = Task(Two(), (x[:2], x[:2]), batches, batches, F.cross_entropy, accuracy)
    short = {"prune_epochs": 1, "finetune_epochs": 1, "lr": 1e-3} if "one_shot" not in changed else {}
    result = compress(task, Target(density=0.5), out=tmp_path, options=Options(**short, **changed))
    assert result.check.relative_difference < 1e-4
    assert result.density == pytest.approx(0.5, abs=0.1)


def test_a_name_that_no_file_can_hold_is_told_before_anything_is_done(tmp_path):
    task = tiny_task(failing_loss(0, _kill))
    task.model.add_module("constant:more", nn.Linear(3, 3))
    with pytest.raises(ArtifactError, match=r"'constant:more\.weight' begins like"):
        run(tmp_path / "run", task)
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings(IGNORED)
@pytest.mark.parametrize("utility", UTILITIES)
def test_a_model_with_weights_that_torch_computes_before_every_pass(utility, tmp_path):
    task = tiny_task()
    UTILITIES[utility](task.model[4])
    task.model(task.example).sum().backward()
    before, x = {key: value.clone() for key, value in task.model.state_dict().items()}, torch.randn(5, 8)
    told = pytest.warns(SecateurWarning, match="remove_weight_norm") if utility == "weight_norm" else nullcontext()
    with told:
        result = run(tmp_path / "run", task, target=Target(density=0.5))
    assert all(torch.equal(before[key], value) for key, value in task.model.state_dict().items())
    reasons = {row.name: row.reason for row in result.layers if row.name.startswith("4.weight_")}
    assert all(f"torch.nn.utils.{utility} computes weight from it" in reason for reason in reasons.values())
    assert reasons
    artifact, other = Artifact.load(tmp_path / "run" / "model.secat"), Net()
    UTILITIES[utility](other[4])
    restored = restore_(other, artifact).eval()(x).detach().numpy()
    assert artifact.graph is None or np.allclose(interpret(artifact, x.numpy()), restored, rtol=1e-4, atol=1e-5)
    assert result.score_packed > 0.9
