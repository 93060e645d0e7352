"""train.precision: forward passes in bfloat16, all else in float32; refused where a device would emulate it."""

import copy

import pytest
import torch
from torch import nn

from prepared import EXAMPLE, prepared
from secateur.errors import TargetError, TrainingError
from secateur.ir.target import Target
from secateur.nn.harden import Hardening
from secateur.nn.transform import transforms_of
from secateur.train import precision
from secateur.train.budget import Budget
from secateur.train.distillation import Distillation, Lesson
from secateur.train.fit import fit, train_step
from secateur.train.schedule import Schedule, adam
from secateur.train.task import Task, accuracy


@pytest.fixture(autouse=True)
def _everywhere(monkeypatch):
    """torch computes in bfloat16 on any processor, only slower on some: what is tested holds on all of them."""
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: True)


def test_outputs_are_float32_but_were_computed_in_bfloat16():
    model = prepared()
    half, full = precision.forward(model, EXAMPLE, "bfloat16"), precision.forward(model, EXAMPLE)
    assert half.dtype == full.dtype == torch.float32
    assert torch.equal(half, half.bfloat16().float())
    assert not torch.equal(full, full.bfloat16().float())
    torch.testing.assert_close(half, full, rtol=0.1, atol=0.05)
    assert torch.equal(full, model(EXAMPLE))


def test_outputs_of_any_structure_are_widened_and_whole_numbers_stay():
    class Several(nn.Linear):
        def forward(self, x):
            y = super().forward(x)
            return {"y": y, "best": (y.argmax(1),)}

    found = precision.forward(Several(3, 2), torch.ones(2, 3), "bfloat16")
    assert found["y"].dtype == torch.float32
    assert found["best"][0].dtype == torch.int64


def test_a_step_moves_float32_weights_and_thresholds_by_float32_gradients():
    model = prepared()
    seen = {}

    def loss(outputs, labels):
        seen["loss"] = (outputs.dtype, torch.is_autocast_enabled("cpu"))
        return nn.functional.cross_entropy(outputs, labels)

    task = Task(model, EXAMPLE, [1], [], loss, accuracy)
    budget = Budget(model, Target(density=0.2), steps=10)
    lesson = Lesson(copy.deepcopy(model), Distillation(0.5), "bfloat16")
    optimizer = adam(model, Schedule(), 10)
    before = [p.detach().clone() for p in model.parameters()]
    batch = (EXAMPLE, torch.tensor([0, 1]))
    terms = train_step(task, batch, optimizer, budget=budget, lesson=lesson, precision="bfloat16")
    assert set(terms) == {"task", "distillation", "budget"}
    assert seen["loss"] == (torch.float32, False)
    assert all(p.dtype == p.grad.dtype == torch.float32 for p in model.parameters())
    assert all((p != was).any() for p, was in zip(model.parameters(), before, strict=True))
    for site in transforms_of(model):
        gradient = site.transform.prune.alpha_raw.grad
        assert (gradient != gradient.bfloat16().float()).any()


def test_a_loop_trains_in_it_and_judges_without_it():
    judged = []

    def metric(outputs, labels):
        judged.append(bool((outputs != outputs.bfloat16().float()).any()))
        return accuracy(outputs, labels)

    batches = [(torch.randn(20, 1, 8, 8), torch.randint(0, 3, (20,))) for _ in range(3)]
    runs = []
    for name in precision.PRECISIONS:
        task = Task(prepared(), EXAMPLE, batches, batches, nn.functional.cross_entropy, metric)
        runs.append(fit(task, Target(density=0.3), schedule=Schedule(2, 1, precision=name, seed=0)))
    assert all(judged)
    assert all(run.hardening.density == pytest.approx(0.3, abs=0.01) for run in runs)
    assert isinstance(runs[0].hardening, Hardening)
    assert runs[0].history[0].loss != runs[1].history[0].loss
    assert runs[0].history[0].loss == pytest.approx(runs[1].history[0].loss, rel=0.05)


def test_what_makes_no_sense_or_is_not_there_is_refused(monkeypatch):
    with pytest.raises(TargetError, match="precision is float32 or bfloat16, not 'float16'"):
        Schedule(precision="float16")
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: False)
    precision.refuse_unsupported(prepared(), "float32")
    task = Task(prepared(), EXAMPLE, [1], [], None, None)
    with pytest.raises(TrainingError, match=r"this cpu has no arithmetic in bfloat16 .*: leave precision at float32"):
        fit(task, Target(density=0.3), schedule=Schedule(1, 0, precision="bfloat16"))


def test_devices_are_asked_by_their_type(monkeypatch):
    monkeypatch.undo()
    assert precision.device_of(nn.ReLU()) == precision.device_of(nn.Linear(1, 1)) == "cpu"
    assert precision.device_of(nn.Linear(1, 1, device="meta")) == "meta"
    assert precision.has_bfloat16("meta") is False
    assert precision.has_bfloat16("cpu") is bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: not including_emulation)
    assert precision.has_bfloat16("cuda") is True
