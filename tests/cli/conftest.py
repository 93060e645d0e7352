"""What tests of verbs share: a runner, and an artifact of the sample task on disk."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

import secateur as sct
from secateur.cli.demo_data import load_demo_data
from secateur.cli.demo_line import Recipe, run_line
from secateur.cli.demo_network import build
from secateur.cli.main import app
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
