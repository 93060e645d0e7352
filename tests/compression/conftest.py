"""What tests of runs share: an unbroken run to compare with, and ways to break one."""

import pytest
from tiny_task import OPTIONS, tiny_task

from secateur.compression.compress import compress
from secateur.compression.interrupts import Stop
from secateur.compression.line import Line
from secateur.compression.run_folder import RunFolder
from secateur.ir.rules import Prune
from secateur.ir.target import Target
from secateur.nn.planning import plan

TARGET = Target(density=0.3)


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory):
    """The folder of a run that nothing happened to."""
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    compress(tiny_task(), TARGET, out=folder, options=OPTIONS)
    return folder


@pytest.fixture
def same_file(unbroken):
    """same_file(folder): goes on with a run there and compares its artifact with the unbroken one's."""

    def same(folder):
        compress(tiny_task(), TARGET, out=folder, options=OPTIONS)
        return (folder / "model.secat").read_bytes() == (unbroken / "model.secat").read_bytes()

    return same


@pytest.fixture
def bare_line():
    """bare_line(folder, task=None): what the passes of a run share, nothing done yet."""

    def made(folder, task=None):
        task = task or tiny_task()
        rows = plan(task.model, task.example, prune=Prune())
        return Line(task, rows, RunFolder(folder), Stop(), lambda _: None, "float32", 1000)

    return made
