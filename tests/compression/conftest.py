"""What tests of runs share: an unbroken run to compare with, and ways to break one."""

import pytest
from tiny_task import OPTIONS, tiny_task

from secateur.compression.compress import compress
from secateur.ir.target import Target

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
