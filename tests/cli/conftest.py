"""What tests of verbs share: a runner, and an artifact of the sample task on disk."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import secateur as sct
from secateur.cli.demo_data import load_demo_data
from secateur.cli.demo_line import Recipe, run_line
from secateur.cli.demo_network import build
from secateur.cli.main import app
from secateur.ir.artifact import Artifact
from secateur.ir.formats import Dense, on_grid
from secateur.ir.graph import Graph, Node, ValueType
from secateur.ir.grid import Grid
from secateur.nn.pack import pack
from secateur.train.loading import load_task

TASK_FILE = Path(__file__).with_name("sample_task.py")


@dataclass(frozen=True)
class Ran:
    """How a command ended and what it said."""

    status: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def secateur():
    """secateur("show", path): runs the command in this process; an error that is no exit is raised."""

    def run(*arguments):
        result = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
        return Ran(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture(scope="session")
def task_name():
    return f"{TASK_FILE}:build"


@pytest.fixture(scope="session")
def artifact(task_name):
    """The sample task's network with half of its weights, one hidden unit fewer at least."""
    task = load_task(task_name)
    sct.prepare_(task.model, sct.plan(task.model, task.example, prune=sct.Prune()))
    sct.harden_(task.model, sct.Target(density=0.2))
    return pack(task.model, task.example)


@pytest.fixture
def packed(artifact, tmp_path):
    artifact.save(tmp_path / "model.secat")
    return tmp_path / "model.secat"


@pytest.fixture(scope="session")
def demo_events():
    """What the demo's line told while it ran."""
    return []


@pytest.fixture(scope="session")
def small_demo():
    """small_demo(watch): the demo's line on a few images, for very few steps."""

    def run(watch):
        task, test = build(load_demo_data(), seed=0)
        small = dataclasses.replace(task, train=few(task.train, 256), val=few(task.val, 100))
        recipe = Recipe(1, sct.Schedule(2, 1, threshold_lr=0.5), density=0.1)
        return run_line(small, few(test, 100), recipe, watch)

    return run


@pytest.fixture(scope="session")
def demo_result(small_demo, demo_events):
    return small_demo(demo_events.append)


def few(images, count):
    return dataclasses.replace(images, images=images.images[:count], labels=images.labels[:count], batch=64)


@pytest.fixture
def quantized_maps(tmp_path):
    """Two linear layers whose inputs are quantized: the file and what it holds."""
    signed, plain = {"bits": 4, "signed": True}, {"bits": 3, "signed": False}
    nodes = (
        Node("fake_quantize", ("x", "s0"), "q0", signed),
        Node("linear", ("q0", "w1", "b1"), "y"),
        Node("relu", ("y",), "z"),
        Node("fake_quantize", ("z", "s1"), "q1", plain),
        Node("linear", ("q1", "w2"), "scores"),
    )
    weights = np.random.default_rng(0).normal(size=(2, 6, 6)).astype(np.float32)
    tensors = {
        "s0": Dense(np.array(0.3, np.float16)),
        "w1": on_grid(weights[0], Grid.spanning(weights[0], 4), nearest=True),
        "b1": Dense(weights[1, 0]),
        "s1": Dense(np.array(0.7, np.float16)),
        "w2": on_grid(weights[1, :3], Grid.spanning(weights[1], 8), nearest=True),
    }
    types = {name: ValueType(tensor.shape) for name, tensor in tensors.items()}
    types |= {name: ValueType((-1, 6)) for name in ("x", "q0", "y", "z", "q1")} | {"scores": ValueType((-1, 3))}
    artifact = Artifact(Graph(("x",), ("scores",), tuple(tensors), nodes, types), tensors)
    artifact.save(tmp_path / "maps.secat")
    return tmp_path / "maps.secat", artifact
