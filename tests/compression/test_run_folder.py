"""compression.run_folder: one process, one run, files whole or not there."""

import subprocess
import sys

import pytest

from secateur.compression.run_folder import held
from secateur.errors import DataError

PRINT = {"target": {"density": 0.1}, "seed": 0, "pair": (1, 2)}


def test_a_run_is_noted_once_and_compared_then(tmp_path):
    with held(tmp_path / "new" / "run") as folder:
        folder.begin(PRINT)
        folder.begin(PRINT)
        folder.write("state-0.state", b"")
        with pytest.raises(DataError, match=r"target, density: 0.1 then, 0.2 now(.|\n)*seed: 0 then, 1 now"):
            folder.begin({**PRINT, "target": {"density": 0.2}, "seed": 1})


def test_a_folder_with_other_things_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with held(tmp_path) as folder, pytest.raises(DataError, match=r"notes\.txt"):
        folder.begin(PRINT)


def test_two_processes_do_not_share_a_folder(tmp_path):
    code = "import sys; from secateur.compression.run_folder import held\nwith held(sys.argv[1]): print('in')"
    with held(tmp_path):
        inside = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
    assert "another process is at work" in inside.stderr
    after = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert after.stdout == "in\n"


def test_what_a_kill_left_goes(tmp_path):
    (tmp_path / ".0123.part").write_bytes(b"half")
    with held(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == ["run.lock"]


def test_damaged_notes_are_told(tmp_path):
    with held(tmp_path) as folder:
        for text in ("{", "[]"):
            (tmp_path / "run.json").write_text(text)
            with pytest.raises(DataError, match="start anew"):
                folder.begin(PRINT)
        (tmp_path / "run.json").write_text('{"secateur_run": 99}')
        with pytest.raises(DataError, match="another version"):
            folder.begin(PRINT)


def test_a_run_that_came_to_nothing_leaves_its_folder_to_another(tmp_path):
    with held(tmp_path) as folder:
        folder.begin(PRINT)
        folder.write_json("schedule.json", {"lr": 1})
        folder.begin({**PRINT, "seed": 1})
        assert not (tmp_path / "schedule.json").exists()
        (tmp_path / "state-0.state").write_bytes(b"")
        with pytest.raises(DataError, match="seed: 1 then, 0 now"):
            folder.begin(PRINT)
