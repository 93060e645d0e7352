"""A file is there whole or not at all: every failure leaves the old one and nothing else."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from secateur.errors import ArtifactError
from secateur.ir.storage import read_plainly, write_whole


def test_a_file_is_written_and_replaced(tmp_path: Path):
    path = tmp_path / "model.secat"
    write_whole(path, b"one")
    write_whole(str(path), b"two")
    assert path.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_read_whole_and_every_byte_as_it_is(tmp_path: Path):
    path, content = tmp_path / "file", bytes(range(256)) * 1000 + b"\r\n\x1a"
    path.write_bytes(content)
    assert read_plainly(str(path)) == content
    path.write_bytes(b"")
    assert read_plainly(str(path)) == b""
    with pytest.raises(FileNotFoundError):
        read_plainly(str(tmp_path / "none"))


def test_a_link_stays_a_link(tmp_path: Path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    write_whole(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_the_usual_permissions_apply(tmp_path: Path):
    write_whole(tmp_path / "a", b"")
    (tmp_path / "b").write_bytes(b"")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_failures_leave_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException):
    path = tmp_path / "model.secat"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(os, step, fail)
    expected = ArtifactError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected, match="No space left on device" if isinstance(error, OSError) else None):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_places_that_cannot_be_written_are_named(tmp_path: Path):
    with pytest.raises(ArtifactError, match=r"cannot write .*No such file or directory"):
        write_whole(tmp_path / "missing" / "model.secat", b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ArtifactError, match="cannot write"):
        write_whole(tmp_path / "folder", b"")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_write_that_stops_halfway_leaves_nothing(tmp_path: Path):
    """A real one: the system lets no file grow past 1 kB."""
    path = tmp_path / "model.secat"
    path.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(ArtifactError, match="File too large; nothing was changed"):
            write_whole(path, bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
