"""compression.checkpoint: states come back, the last good one wins; damage, code, a full disk are told."""

import errno

import pytest
import torch

from secateur.compression.checkpoint import MAGIC, Checkpoints, from_bytes, to_bytes
from secateur.errors import DataError, SecateurWarning, TrainingError
from secateur.ir import storage

STATE = {"model": {"a": torch.arange(3.0)}, "epoch": 2, "mean": 0.5, "history": [{"x": (1, 2)}], "none": None}


def test_a_state_comes_back():
    found = from_bytes(to_bytes(STATE))
    assert torch.equal(found.pop("model")["a"], STATE["model"]["a"])
    assert found == {name: value for name, value in STATE.items() if name != "model"}


def test_every_damage_is_refused():
    data = to_bytes(STATE)
    for place in range(0, len(data), 37):
        broken = bytearray(data)
        broken[place] ^= 1
        with pytest.raises(DataError, match="damaged"):
            from_bytes(bytes(broken))
    for length in (0, 5, len(MAGIC), len(data) - 1):
        with pytest.raises(DataError):
            from_bytes(data[:length])


class Evil:
    def __reduce__(self):
        return print, ("code ran",)


def test_code_is_refused(capsys):
    with pytest.raises(DataError, match="more than tensors"):
        from_bytes(to_bytes({"state": Evil()}))
    assert capsys.readouterr().out == ""


def test_the_newest_wins_and_the_one_before_is_kept(tmp_path):
    states = Checkpoints(tmp_path, "state")
    assert states.load() is None
    for epoch in range(5):
        states.save({"epoch": epoch})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state-0.state", "state-1.state"]
    assert Checkpoints(tmp_path, "state").load() == {"epoch": 4}
    (tmp_path / "state-1.state").write_bytes(b"")
    with pytest.warns(SecateurWarning, match="the other state is used"):
        assert Checkpoints(tmp_path, "state").load() == {"epoch": 3}
    (tmp_path / "state-0.state").write_bytes(MAGIC)
    with pytest.raises(DataError, match="no state of this run can be read"):
        Checkpoints(tmp_path, "state").load()


def test_a_resumed_run_does_not_overwrite_the_newest(tmp_path):
    states = Checkpoints(tmp_path, "state")
    states.save({"epoch": 0})
    again = Checkpoints(tmp_path, "state")
    again.load()
    again.save({"epoch": 1})
    assert len(list(tmp_path.iterdir())) == 2


def test_a_full_disk_is_told_and_the_last_state_stays(tmp_path, monkeypatch):
    states = Checkpoints(tmp_path, "state")
    states.save({"epoch": 0})

    def full(number):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(storage.os, "fsync", full)
    for _ in range(2):
        with pytest.raises(TrainingError, match=r"could not be kept.*No space left"):
            states.save({"epoch": 1})
    assert Checkpoints(tmp_path, "state").load() == {"epoch": 0}
    assert [path.name for path in tmp_path.iterdir()] == ["state-1.state"]


def test_they_can_be_removed(tmp_path):
    states = Checkpoints(tmp_path, "state")
    states.save(STATE)
    states.remove()
    assert list(tmp_path.iterdir()) == []
