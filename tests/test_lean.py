"""The base install runs an Artifact: the wheel, built here, in an environment of its own that has no torch."""

import json
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from secateur.ir.artifact import Artifact
from secateur.ir.execute import interpret
from secateur.nn.pack import pack

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


class Files(NamedTuple):
    """An artifact, an input, and what the environment with torch computes from them."""

    artifact: Path
    inputs: Path
    expected: np.ndarray


def call(*command: object, status: int = 0) -> str:
    """Standard output of a command that must end with `status`."""
    run = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert run.returncode == status, run.stdout + run.stderr
    return run.stdout if status == 0 else run.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    call(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def lean(wheel, tmp_path_factory) -> Path:
    """The folder of the programs of a new environment that holds the wheel and what it needs."""
    folder = tmp_path_factory.mktemp("lean")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    constraints = ROOT / "constraints.txt"
    call(sys.executable, "-m", "pip", "--python", python, "install", "-q", "-c", constraints, wheel)
    return python.parent


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Files:
    """A sparse network with a norm to fold and a dead channel to remove, packed here."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 13 * 13, 10)
    ).eval()
    conv, head = model[0], model[5]
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        conv.weight[1] = 0
        head.weight[torch.rand_like(head.weight) > 0.1] = 0
    x = torch.rand(3, 1, 28, 28)
    folder = tmp_path_factory.mktemp("artifact")
    found = Files(folder / "model.secat", folder / "x.npy", model(x).detach().numpy())
    pack(model, x).save(found.artifact)
    np.save(found.inputs, x.numpy())
    np.testing.assert_allclose(interpret(Artifact.load(found.artifact), x.numpy()), found.expected, atol=1e-5)
    return found


def test_the_wheel_holds_the_package_its_data_and_its_licences(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for name in ("py.typed", "cli/data/fashion_mnist.zst", "cli/data/LICENSE.fashion_mnist.txt"):
        assert f"secateur/{name}" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    source = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src" / "secateur").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == source
    assert wheel.stat().st_size < 5_000_000


def test_the_environment_has_no_torch_and_needs_none_below_nn(lean):
    script = """
import importlib, importlib.util, pkgutil, sys
assert importlib.util.find_spec("torch") is None
import secateur
assert secateur.__file__.startswith(sys.prefix), secateur.__file__
for name in ("errors", "maths", "ir", "kernels", "reporting"):
    module = importlib.import_module(f"secateur.{name}")
    for inner in pkgutil.walk_packages(getattr(module, "__path__", []), module.__name__ + "."):
        importlib.import_module(inner.name)
import secateur.cli.main
from secateur.cli.demo_data import load_demo_data
print(len(load_demo_data().train_images))
"""
    assert call(lean / "python", "-I", "-W", "error", "-c", script).split() == ["8000"]


def test_interpret(lean, files, tmp_path):
    script = """
import sys
import numpy as np
from secateur.ir.artifact import Artifact
from secateur.ir.execute import interpret
artifact, inputs, output = sys.argv[1:]
np.save(output, interpret(Artifact.load(artifact), np.load(inputs)))
assert "torch" not in sys.modules
"""
    output = tmp_path / "y.npy"
    call(lean / "python", "-I", "-W", "error", "-c", script, files.artifact, files.inputs, output)
    np.testing.assert_allclose(np.load(output), files.expected, atol=1e-5)


def test_show(lean, files):
    shown = json.loads(call(lean / "secateur", "show", "--json", files.artifact))
    assert shown["file_bytes"] == files.artifact.stat().st_size
    assert "0.weight" in {row["name"] for row in shown["tensors"]}
    assert "bytes" in call(lean / "secateur", "show", files.artifact)


def test_run(lean, files, tmp_path):
    output = tmp_path / "y.npy"
    call(lean / "secateur", "run", files.artifact, files.inputs, "-o", output)
    np.testing.assert_allclose(np.load(output), files.expected, atol=1e-5)


def test_a_verb_that_needs_torch_says_so(lean, tmp_path):
    assert "needs PyTorch" in call(lean / "secateur", "demo", "-o", tmp_path, status=2)
    assert list(tmp_path.iterdir()) == []
