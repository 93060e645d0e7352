"""The digest of sources follows every change of them, and is read back only where nothing can have changed."""

import os

import pytest

from secateur.kernels import emitters as module
from secateur.kernels.emitters import emitters, source_digest
from secateur.kernels.object_cache import cache_folder


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A folder of two Python files and one that is none, and a cache of its own; every file counts as settled."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "SETTLED_NS", -(10**18))
    folder = tmp_path / "source"
    folder.mkdir()
    for name, text in (("one.py", "a = 1\n"), ("two.py", "b = 2\n"), ("notes.txt", "nothing\n")):
        (folder / name).write_text(text)
    return folder


def reads(monkeypatch) -> list[str]:
    """Grows by every file whose content is read from now on."""
    seen = []
    plainly = module.read_plainly
    monkeypatch.setattr(module, "read_plainly", lambda path: seen.append(path) or plainly(path))
    return seen


def test_the_second_process_reads_no_source(sources, monkeypatch):
    first = source_digest([str(sources)])
    seen = reads(monkeypatch)
    assert source_digest([str(sources)]) == first
    assert seen == []


def test_same_size_and_a_time_that_was_set_back_do_not_hide_a_change(sources):
    before, times = source_digest([str(sources)]), os.stat(sources / "one.py")
    (sources / "one.py").write_text("a = 3\n")
    os.utime(sources / "one.py", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert os.stat(sources / "one.py").st_mtime_ns == times.st_mtime_ns
    assert source_digest([str(sources)]) != before


def test_a_name_belongs_to_what_is_hashed(sources):
    before = source_digest([str(sources)])
    (sources / "one.py").rename(sources / "three.py")
    renamed = source_digest([str(sources)])
    assert renamed != before
    (sources / "notes.txt").write_text("something\n")
    assert source_digest([str(sources)]) == renamed
    (sources / "empty.py").touch()
    assert source_digest([str(sources)]) != renamed


def test_what_was_written_just_now_is_read_again(sources, monkeypatch):
    monkeypatch.setattr(module, "SETTLED_NS", 10**18)
    first = source_digest([str(sources)])
    seen = reads(monkeypatch)
    assert source_digest([str(sources)]) == first
    assert len(seen) == 2
    assert not cache_folder().exists() or not list(cache_folder().iterdir())


def test_sources_that_change_while_they_are_read_are_not_kept(sources, monkeypatch):
    plainly = module.read_plainly

    def read_and_write(path):
        content = plainly(path)
        (sources / "two.py").write_text(f"b = {len(path)}0\n")
        return content

    monkeypatch.setattr(module, "read_plainly", read_and_write)
    source_digest([str(sources)])
    assert not list(cache_folder().iterdir())


def test_a_damaged_file_is_made_again(sources, monkeypatch):
    first = source_digest([str(sources)])
    (kept,) = cache_folder().iterdir()
    content = bytearray(kept.read_bytes())
    content[-1] ^= 1
    kept.write_bytes(bytes(content))
    seen = reads(monkeypatch)
    assert source_digest([str(sources)]) == first
    assert len(seen) == 2


def test_the_compiler_is_named_beside_the_sources():
    assert "llvmlite" in emitters()
    assert emitters() is emitters()
