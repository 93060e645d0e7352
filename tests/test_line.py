"""The whole line on a small network: plan, prepare_, fit, harden_, pack, save, load, interpret, restore_, report."""

import copy
import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import secateur as sct
from secateur.ir.formats import from_dense, on_grid
from secateur.nn.refit import refit_
from secateur.nn.transform import transforms_of


class Blocks(nn.Module):
    """A residual block with batch norms, then a classifier: every kind of rewriting that pack does has work here."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(8)
        self.conv = nn.Conv2d(8, 8, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(8)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(8 * 16, 24), nn.ReLU(), nn.Dropout(0.1), nn.Linear(24, 3))

    def forward(self, x):
        x = F.relu(self.norm1(self.stem(x)))
        x = F.relu(x + self.norm2(self.conv(x)))
        return self.head(F.max_pool2d(x, 2))


@pytest.fixture(scope="module")
def task():
    """Three kinds of stripes, in noise."""
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(96) % 3
    rows, columns = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    stripes = torch.stack([rows % 2, columns % 2, (rows + columns) % 2]).float()
    images = stripes[labels].unsqueeze(1) + 0.3 * torch.randn(96, 1, 8, 8, generator=random)
    torch.manual_seed(0)
    train = list(zip(images[:72].split(24), labels[:72].split(24), strict=True))
    return sct.Task(Blocks(), images[:4], train, [(images[72:], labels[72:])], F.cross_entropy, sct.accuracy)


@pytest.fixture(scope="module")
def line(task):
    """(fitted, hardened model, artifact) after a few dozen steps."""
    plan = sct.Plan.from_json(sct.plan(task.model, task.example, prune=sct.Prune(), skip=("stem",)).to_json())
    sct.prepare_(task.model, plan)
    schedule = sct.Schedule(prune_epochs=20, finetune_epochs=8, lr=5e-3, threshold_lr=0.1)
    fitted = sct.fit(task, sct.Target(density=0.25), schedule=schedule)
    return fitted, task.model, sct.pack(task.model, task.example)


def outputs(model, inputs):
    with torch.no_grad():
        return copy.deepcopy(model).eval()(inputs).numpy()


def test_the_target_is_met_to_the_weight_and_the_task_is_still_solved(task, line):
    fitted, model, _ = line
    total = sum(row.size for row in fitted.hardening.tensors)
    assert sum(row.nonzeros for row in fitted.hardening.tensors) == round(0.25 * total)
    assert sct.score(task, model) > 0.9
    assert fitted.history[-1].loss < fitted.history[0].loss


def test_what_was_trained_is_what_the_file_computes(task, line, tmp_path):
    _, model, artifact = line
    artifact.save(tmp_path / "model.secat")
    loaded = sct.Artifact.load(tmp_path / "model.secat")
    inputs = task.val[0][0]
    found = sct.interpret(loaded, inputs.numpy())
    np.testing.assert_allclose(found, outputs(model, inputs), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(found, sct.interpret(artifact, inputs.numpy()))
    stripped = sct.strip_(copy.deepcopy(model))
    np.testing.assert_array_equal(outputs(stripped, inputs), outputs(model, inputs))


def test_the_file_goes_back_into_torch(task, line):
    _, model, artifact = line
    restored = sct.restore_(Blocks(), artifact)
    inputs = task.val[0][0]
    np.testing.assert_allclose(outputs(restored, inputs), outputs(model, inputs), rtol=1e-4, atol=1e-4)


def test_a_fault_in_the_file_is_noticed(task, line):
    _, model, artifact = line
    name = next(name for name in artifact.tensors if name.endswith("4.weight"))
    negated = {**artifact.tensors, name: from_dense(-artifact.tensors[name].to_dense())}
    wrong = sct.Artifact(artifact.graph, negated, artifact.meta, artifact.units, artifact.axes, artifact.folds)
    inputs = task.val[0][0]
    difference = np.abs(sct.interpret(wrong, inputs.numpy()) - outputs(model, inputs)).max()
    assert difference > 0.1


def test_a_report_tells_it(task, line, tmp_path):
    fitted, _, artifact = line
    sizes = {row.name: row.size for row in fitted.hardening.tensors}
    training = sct.Training.of(fitted.history, sizes, "accuracy on stripes", "fraction")
    made = sct.report(artifact, title="Stripes", training=training)
    made.save(tmp_path / "report.html")
    made.save(tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text())["training"]["epochs"][0]["phase"] == "prune"
    assert "Accuracy on stripes" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("granularity", ["tensor", "channel"])
def test_a_joint_plan_under_a_limit_on_bytes(task, granularity, tmp_path):
    """Pruned and quantized together: the file holds its limit, and is the forward pass bit for bit."""
    torch.manual_seed(0)
    joint = dataclasses.replace(task, model=Blocks())
    rules = sct.plan(joint.model, joint.example, prune=sct.Prune(), quantize=sct.Quantize({2, 3, 4, 6}, granularity))
    sct.prepare_(joint.model, sct.Plan.from_json(rules.to_json()))
    target = sct.Target(packed_bytes=1800, average_bits=5, values="float16")
    schedule = sct.Schedule(prune_epochs=20, finetune_epochs=8, lr=5e-3, threshold_lr=0.1)
    fitted = sct.fit(joint, target, schedule=schedule)
    assert refit_(joint.model, target, joint.example).cut < 100
    artifact = sct.pack(joint.model, joint.example, values="float16")
    artifact.save(tmp_path / "joint.secat")
    assert (tmp_path / "joint.secat").stat().st_size <= 1800
    assert fitted.hardening.average_bits <= 5
    assert sct.score(joint) > 0.9
    assert all(row.bits in (2, 3, 4, 6) for row in fitted.hardening.tensors)
    loaded = sct.Artifact.load(tmp_path / "joint.secat")
    restored = sct.restore_(Blocks(), loaded)
    inputs = task.val[0][0]
    np.testing.assert_allclose(outputs(restored, inputs), outputs(joint.model, inputs), rtol=2e-2, atol=5e-2)
    for site in transforms_of(joint.model):
        forward = site.transform(site.original).detach().numpy()
        assert on_grid(forward, site.transform.grid()).to_dense().tobytes() == forward.tobytes()


@pytest.mark.parametrize("converted", ["before", "after"])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-3), (torch.bfloat16, 5e-2), (torch.float16, 2e-2)], ids=str
)
def test_models_of_other_dtypes_are_quantized_too(dtype, tolerance, converted):
    """Weights and maps, in widths that learn, under a limit on bytes; converted before or after they are prepared."""
    torch.manual_seed(0)
    model, labels = Blocks(), torch.arange(24) % 3
    images = torch.randn(24, 1, 8, 8)
    if converted == "before":
        model, images = model.to(dtype), images.to(dtype)
    plan = sct.plan(model, images, prune=sct.Prune(), quantize=sct.Quantize((2, 8)), maps=sct.Quantize((6, 8)))
    sct.prepare_(model, plan).to(dtype)
    images = images.to(dtype)
    target, steps = sct.Target(packed_bytes=2600, average_bits=6), 30
    optimizer = torch.optim.SGD(sct.param_groups(model), lr=1e-3)
    budget = sct.Budget(model, target, steps=steps, example=images)
    for _ in range(steps):
        loss = F.cross_entropy(model(images), labels) + budget()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        budget.step()
    sct.harden_(model, target, example=images)
    artifact = sct.pack(model.eval(), images)
    assert len(artifact.to_bytes()) <= 2600
    with torch.no_grad():
        wanted = model(images)
        restored = sct.restore_(Blocks().to(dtype), artifact).eval()(images)
    assert wanted.dtype == restored.dtype == dtype
    found = torch.from_numpy(sct.interpret(artifact, images.float().numpy()))
    for other in (found, restored.float()):
        assert (other - wanted.float()).abs().max() < tolerance * wanted.abs().max()
