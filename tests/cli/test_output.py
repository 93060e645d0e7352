"""Results on standard output in one of two forms; files whole or not there."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from secateur.cli.output import check_writable, note, show_result, write_file
from secateur.errors import DataError
from secateur.ir.storage import output_folder


def test_json_holds_what_json_can_hold(capsys):
    show_result("text", {"a": math.nan, "b": [Path("x") / "y", (1, 2.5)], 3: {"c": math.inf}}, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": ["x/y", [1, 2.5]], "3": {"c": None}}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_standard_output_is_one_line():
    code = "from secateur.cli.output import show_result\nshow_result('text', {}, as_json=False)"
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1].endswith("cannot write the result to standard output: No space left on device")


def test_text_and_notes_go_apart(capsys):
    show_result("text", {}, as_json=False)
    note("a note")
    assert capsys.readouterr() == ("text\n", "a note\n")


def test_files_are_written_and_replacing_is_said(tmp_path, capsys):
    write_file(tmp_path / "a", b"1")
    assert capsys.readouterr().err == ""
    write_file(tmp_path / "a", b"2")
    assert "was there and has been replaced" in capsys.readouterr().err
    assert (tmp_path / "a").read_bytes() == b"2"
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_what_cannot_be_written_is_said_before(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="no ordinary file"):
        check_writable(tmp_path)
    with pytest.raises(DataError, match="no ordinary file"):
        check_writable(Path("/dev/null"))
    with pytest.raises(DataError, match="cannot write into"):
        check_writable(tmp_path / "none" / "a")
    with pytest.raises(DataError, match="cannot make the folder"):
        output_folder(tmp_path / "file")
    assert output_folder(tmp_path / "new" / "deep").is_dir()
