"""`pack` takes plain and prepared checkpoints, and nothing that could run code."""

import pickle

import pytest
import torch

import secateur as sct
from secateur.ir.artifact import Artifact
from secateur.train.loading import load_task


@pytest.fixture
def prepared(task_name, tmp_path):
    """A hardened model's checkpoint, with its plan beside it."""
    task = load_task(task_name)
    plan = sct.plan(task.model, task.example, prune=sct.Prune())
    (tmp_path / "plan.json").write_text(plan.to_json())
    sct.prepare_(task.model, plan)
    torch.save(task.model.state_dict(), tmp_path / "soft.pt")
    sct.harden_(task.model, sct.Target(density=0.25))
    torch.save(task.model.state_dict(), tmp_path / "hard.pt")
    return tmp_path


def test_the_model_as_it_is(secateur, task_name, tmp_path):
    ran = secateur("pack", task_name, "-o", tmp_path / "m.secat", "--values", "float16", "--json")
    assert ran.status == 0
    assert ran.json["runs"] is True
    assert ran.json["file_bytes"] == (tmp_path / "m.secat").stat().st_size
    assert Artifact.load(tmp_path / "m.secat").meta["values"] == "float16"


def test_a_prepared_checkpoint_needs_its_plan(secateur, task_name, prepared):
    out = prepared / "m.secat"
    ran = secateur("pack", task_name, "-o", out, "--checkpoint", prepared / "hard.pt")
    assert ran.status == 2
    assert "--plan plan.json" in ran.err
    plan = ("--plan", prepared / "plan.json")
    assert secateur("pack", task_name, "-o", out, "--checkpoint", prepared / "hard.pt", *plan).status == 0
    kept = sum(Artifact.load(out).tensors[name].nonzeros for name in ("0.weight", "2.weight"))
    assert kept <= 12  # a quarter of 48, less what dead units took along
    ran = secateur("pack", task_name, "-o", out, "--checkpoint", prepared / "soft.pt", *plan)
    assert "harden_" in ran.err
    ran = secateur("pack", task_name, "-o", out, "--checkpoint", prepared / "hard.pt", "--plan", prepared / "none.json")
    assert (ran.status, "cannot read" in ran.err) == (2, True)


def test_a_plan_that_would_say_nothing_is_refused(secateur, task_name, prepared):
    out, plan = prepared / "m.secat", ("--plan", prepared / "none.json")
    ran = secateur("pack", task_name, "-o", out, *plan)
    assert ran.status == 2
    assert "--plan says nothing without --checkpoint" in ran.err
    torch.save(load_task(task_name).model.state_dict(), prepared / "plain.pt")
    ran = secateur("pack", task_name, "-o", out, "--checkpoint", prepared / "plain.pt", *plan)
    assert ran.status == 2
    assert "is of a plain model, to which --plan says nothing" in ran.err
    assert not out.exists()


def test_weights_alone_are_said(secateur, tmp_path):
    (tmp_path / "sums.py").write_text(
        "import torch, secateur as sct\n"
        "from torch.nn import functional as F\n"
        "from secateur.train.task import accuracy\n"
        "class Sums(torch.nn.Linear):\n"
        "    def forward(self, x):\n"
        "        return super().forward(x).cumsum(1)\n"
        "def build():\n"
        "    batches = [(torch.zeros(2, 4), torch.zeros(2).long())]\n"
        "    return sct.Task(Sums(4, 3), torch.zeros(2, 4), batches, batches, F.cross_entropy, accuracy)\n"
    )
    with pytest.warns(sct.SecateurWarning):
        ran = secateur("pack", f"{tmp_path / 'sums.py'}:build", "-o", tmp_path / "m.secat", "--json")
    assert ran.status == 0
    assert ran.json["runs"] is False
    assert "weights only" in ran.err


class Bomb:
    def __reduce__(self):
        return (print, ("boom",))


def test_checkpoints_that_are_none(secateur, task_name, tmp_path, capfd):
    torch.save({"0.weight": torch.zeros(8, 4)}, tmp_path / "part.pt")
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    torch.save({"state_dict": Bomb()}, tmp_path / "bomb.pt")
    (tmp_path / "raw.pt").write_bytes(pickle.dumps({"x": Bomb()}, protocol=2))
    (tmp_path / "text.pt").write_text("no checkpoint")
    (tmp_path / "empty.pt").write_bytes(b"")
    for name, words in (
        ("part.pt", "does not fit the task's model"), ("tensor.pt", "holds a Tensor, not a state dict"),
        ("bomb.pt", "no checkpoint of tensors alone"), ("raw.pt", "no checkpoint of tensors alone"),
        ("text.pt", "no checkpoint of tensors alone"), ("empty.pt", "no checkpoint of tensors alone"),
        ("missing.pt", "cannot read"),
    ):  # fmt: skip
        ran = secateur("pack", task_name, "-o", tmp_path / "m.secat", "--checkpoint", tmp_path / name)
        assert ran.status == 2, name
        assert words in ran.err
    assert "boom" not in capfd.readouterr().out
    assert not (tmp_path / "m.secat").exists()


WIDE = """
import torch, secateur as sct
from torch.nn import functional as F
from secateur.train.task import accuracy
def build():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 60), torch.nn.{activation}(), torch.nn.Linear(60, 2))
    for p in model.parameters():
        p.data *= torch.rand_like(p) < 0.6
    batches = [(torch.randn(2, 4), torch.zeros(2).long())]
    return sct.Task(model, torch.zeros(2, 4), batches, batches, F.cross_entropy, accuracy)
"""


@pytest.mark.parametrize(("activation", "units"), [("ReLU", "units sorted and rescaled"), ("Sigmoid", "units sorted")])
def test_the_smallest_file_computes_the_same(secateur, tmp_path, activation, units):
    (tmp_path / "wide.py").write_text(WIDE.replace("{activation}", activation))
    name, plain, smallest = f"{tmp_path / 'wide.py'}:build", tmp_path / "plain.secat", tmp_path / "smallest.secat"
    assert secateur("pack", name, "-o", plain).out == f"wrote {plain}: {plain.stat().st_size:,} bytes\n"
    ran = secateur("pack", name, "-o", smallest, "--smallest")
    assert ran.out == f"wrote {smallest}: {smallest.stat().st_size:,} bytes, {units}\n"
    assert smallest.stat().st_size < plain.stat().st_size
    assert secateur("check", smallest, "--task", name, "--max-drop", "0").status == 0
    assert secateur("show", plain, smallest).status == 0


def test_the_smallest_file_is_the_smallest_of_all(secateur, task_name, tmp_path):
    """Weights that are powers of two already: rescaling would cost bytes."""
    plain, smallest = tmp_path / "plain.secat", tmp_path / "smallest.secat"
    assert secateur("pack", task_name, "-o", plain).status == 0
    data = secateur("pack", task_name, "-o", smallest, "--smallest", "--json").json
    assert data["units"] == "units sorted"
    assert smallest.stat().st_size < plain.stat().st_size
    task = load_task(task_name)
    assert len(sct.pack(task.model, task.example, sort=True, rescale=True).to_bytes()) > plain.stat().st_size
