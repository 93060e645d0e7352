"""Files of compiled code: for their owner alone, whole or absent, dropped by name."""

import pytest

from secateur.errors import SecateurWarning
from secateur.kernels.object_cache import cache_folder, drop_objects, read_object, write_object


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return cache_folder()


def test_a_file_under_another_key_is_not_believed(cache):
    write_object("one", b"content")
    assert read_object("one") == b"content"
    (cache / "two").write_bytes((cache / "one").read_bytes())
    (cache / "two").chmod(0o600)
    assert read_object("two") is None


def test_a_file_larger_than_any_code_is_not_read(cache, monkeypatch):
    write_object("one", b"content")
    monkeypatch.setattr("secateur.kernels.object_cache.MAX_BYTES", 10)
    assert read_object("one") is None


def test_links_and_open_files_are_not_followed(cache):
    write_object("one", b"content")
    (cache / "link").symlink_to(cache / "one")
    assert read_object("link") is None
    (cache / "one").chmod(0o666)
    assert read_object("one") is None


def test_a_folder_open_to_others_is_refused_aloud(cache):
    cache.mkdir(parents=True)
    cache.chmod(0o777)
    with pytest.warns(SecateurWarning, match="chmod 700"):
        write_object("one", b"content")
    with pytest.warns(SecateurWarning, match="chmod 700"):
        assert read_object("one") is None
    assert list(cache.iterdir()) == []


def test_a_user_without_a_home_gets_a_warning(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("pathlib.Path.home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    with pytest.warns(SecateurWarning, match="no home"):
        assert read_object("one") is None


def test_content_is_replaced_whole(cache):
    assert read_object("one") is None
    write_object("one", b"old")
    write_object("one", b"")
    assert read_object("one") == b""
    assert [path.name for path in cache.iterdir()] == ["one"]
    assert (cache.stat().st_mode & 0o777, (cache / "one").stat().st_mode & 0o777) == (0o700, 0o600)


def test_what_begins_alike_is_dropped_together(cache):
    for key in ("choice-1", "choice-2", "code"):
        write_object(key, key.encode())
    assert drop_objects("choice-") == 2
    assert read_object("choice-1") is None
    assert read_object("code") == b"code"
    assert drop_objects("choice-") == 0


@pytest.mark.parametrize("place", [0, -1])
def test_a_changed_byte_is_seen(cache, place):
    write_object("one", b"content")
    content = bytearray((cache / "one").read_bytes())
    content[place] ^= 1
    (cache / "one").write_bytes(content)
    assert read_object("one") is None
